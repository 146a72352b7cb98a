<?php

// An application for `php -S`: an editor at /orders/7.
$path = rawurldecode(parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH));
if ($path === '/presence-token') {
    require __DIR__ . '/presence-token.php';
    return;
}
session_start();
if (preg_match('#^/sign-in/(\d+)/(.+)$#', $path, $part)) {
    $_SESSION['user'] = ['id' => (int) $part[1], 'name' => $part[2]];
    header('Location: /orders/1');
} elseif ($path === '/sign-out') {
    session_destroy();
    echo 'Signed out.';
} elseif (preg_match('#^/orders/(\d+)$#', $path, $part)) {
    echo str_replace('id="7"', "id=\"$part[1]\"", file_get_contents(__DIR__ . '/order.html'));
} else {
    return false; // a file of this folder, or 404
}
