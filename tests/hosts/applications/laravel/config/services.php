<?php

return ['presence' => ['key' => env('PRESENCE_JWT_KEY')]];
