import { presenceToken } from './presence-token.js';

/** `app.get('/presence-token', sendPresenceToken)`, after what signs users in. */
export function sendPresenceToken(request, response) {
  const { user } = request.session;
  response.type('text/plain').set('Cache-Control', 'no-store');
  if (!user) return response.status(401).send('Sign in first.');
  return response.send(presenceToken(user.id, user.name, '1'));
}
