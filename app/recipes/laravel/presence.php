<?php

// In routes/web.php: require __DIR__ . '/presence.php';
// In config/services.php: 'presence' => ['key' => env('PRESENCE_JWT_KEY')],
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Route;

require_once __DIR__ . '/presence_token.php';

Route::get('/presence-token', function (Request $request) {
    $user = $request->user();
    $text = $user
        ? presence_token(config('services.presence.key'), $user->getAuthIdentifier(), $user->name, '1')
        : 'Sign in first.';
    return response($text, $user ? 200 : 401)
        ->withHeaders(['Content-Type' => 'text/plain', 'Cache-Control' => 'no-store']);
});
