import { presenceToken } from './presence-token.js';

/** For `GET /presence-token`: `user` is whom your application has signed in, or null. */
export function sendPresenceToken(user, response) {
  response.writeHead(user ? 200 : 401, { 'Content-Type': 'text/plain', 'Cache-Control': 'no-store' });
  response.end(user ? presenceToken(user.id, user.name, '1') : 'Sign in first.');
}
