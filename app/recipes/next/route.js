import { currentUser } from '../session.js'; // yours: the user who is signed in, or null
import { presenceToken } from './presence-token.js';

export async function GET() {
  const user = await currentUser();
  const headers = { 'Content-Type': 'text/plain', 'Cache-Control': 'no-store' };
  if (!user) return new Response('Sign in first.', { status: 401, headers });
  return new Response(presenceToken(user.id, user.name, '1'), { headers });
}
