<?php

use Illuminate\Http\Request;
use Illuminate\Support\Facades\Route;

require __DIR__ . '/presence.php';

Route::get('/sign-in/{id}/{name}', function (Request $request, int $id, string $name) {
    $request->session()->put('user', ['id' => $id, 'name' => $name]);
    return redirect('/orders/1');
});
Route::get('/sign-out', function (Request $request) {
    $request->session()->flush();
    return 'Signed out.';
});
Route::get('/orders/{id}', function (int $id) {
    return str_replace('id="7"', "id=\"$id\"", file_get_contents(base_path('order.html')));
});
