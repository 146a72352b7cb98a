<?php

// Serve this as /presence-token. What the session holds is your application's.
require __DIR__ . '/presence_token.php';

session_start();
header('Content-Type: text/plain');
header('Cache-Control: no-store');
if (!isset($_SESSION['user'])) {
    http_response_code(401);
    exit('Sign in first.');
}
$user = $_SESSION['user'];
echo presence_token(getenv('PRESENCE_JWT_KEY'), $user['id'], $user['name'], '1');
