import { cookies } from 'next/headers';

export async function GET(_request, { params }) {
  const { id, name } = await params;
  const user = { id: Number(id), name: decodeURIComponent(name) };
  (await cookies()).set('user', JSON.stringify(user), { httpOnly: true });
  return new Response(null, { status: 302, headers: { Location: '/orders/1' } });
}
