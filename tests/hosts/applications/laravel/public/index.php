<?php

// A Laravel application in one file, but for its routes and configuration: an editor at /orders/7.
use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Contracts\Http\Kernel as KernelContract;
use Illuminate\Foundation\Application;
use Illuminate\Foundation\Exceptions\Handler;
use Illuminate\Foundation\Http\Kernel as HttpKernel;
use Illuminate\Http\Request;
use Illuminate\Support\ServiceProvider;

require '/usr/share/php/Illuminate/autoload.php';

class Kernel extends HttpKernel
{
    protected $middlewareGroups = ['web' => [
        Illuminate\Cookie\Middleware\EncryptCookies::class,
        Illuminate\Cookie\Middleware\AddQueuedCookiesToResponse::class,
        Illuminate\Session\Middleware\StartSession::class,
        Illuminate\Routing\Middleware\SubstituteBindings::class,
    ]];
}

class Host extends ServiceProvider
{
    public function boot(): void
    {
        // Stands for users in a database.
        $this->app['auth']->viaRequest('from-session', function (Request $request) {
            $user = $request->session()->get('user');
            return $user ? new Illuminate\Auth\GenericUser($user) : null;
        });
        $this->app['router']->middleware('web')->group(base_path('routes/web.php'));
    }
}

$host = new Application(dirname(__DIR__));
$host->singleton(KernelContract::class, Kernel::class);
$host->singleton(ExceptionHandler::class, Handler::class);
$kernel = $host->make(KernelContract::class);
$request = Request::capture();
$response = $kernel->handle($request)->send();
$kernel->terminate($request, $response);
