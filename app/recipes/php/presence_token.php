<?php

/** A token of five minutes for this user. The key is the service's PRESENCE_JWT_KEY. */
function presence_token(string $key, int|string $user_id, string $name, string $tenant): string
{
    if (strlen($key) < 32) {
        throw new InvalidArgumentException('PRESENCE_JWT_KEY has at least 32 bytes.');
    }
    $claims = ['sub' => $user_id, 'name' => $name, 'tenant' => $tenant, 'exp' => time() + 300];
    $json = json_encode($claims, JSON_THROW_ON_ERROR | JSON_INVALID_UTF8_SUBSTITUTE);
    $encode = fn (string $bytes) => rtrim(strtr(base64_encode($bytes), '+/', '-_'), '=');
    $signed = $encode('{"alg":"HS256","typ":"JWT"}') . '.' . $encode($json);
    return $signed . '.' . $encode(hash_hmac('sha256', $signed, $key, binary: true));
}
