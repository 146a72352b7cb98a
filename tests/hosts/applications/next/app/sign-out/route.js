import { cookies } from 'next/headers';

export async function GET() {
  (await cookies()).delete('user');
  return new Response('Signed out.');
}
