// An application on node:http alone: an editor at /orders/7.
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { sendPresenceToken } from './presence-route.js';

const sessions = new Map(); // by cookie
const page = readFileSync('order.html', 'utf8');

createServer((request, response) => {
  const path = decodeURIComponent(request.url);
  const session = /session=([\w-]+)/.exec(request.headers.cookie)?.[1];
  const user = sessions.get(session);
  const [, action, id, name] = /^\/([\w.-]+)\/?(\d*)\/?(.*)$/.exec(path) ?? [];
  if (action === 'presence-token') {
    sendPresenceToken(user, response);
  } else if (action === 'sign-in') {
    const secret = randomUUID();
    sessions.set(secret, { id: Number(id), name });
    response.writeHead(302, { 'Set-Cookie': `session=${secret}; Path=/; HttpOnly`, Location: '/orders/1' });
    response.end();
  } else if (action === 'sign-out') {
    sessions.delete(session);
    response.end('Signed out.');
  } else if (action === 'orders') {
    response.setHeader('Content-Type', 'text/html; charset=utf-8');
    response.end(page.replace('id="7"', `id="${id}"`));
  } else {
    response.writeHead(404).end();
  }
}).listen(process.env.PORT, '127.0.0.1');
