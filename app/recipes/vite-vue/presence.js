// Where the service is, and how it learns who is calling.
export const base = 'https://presence.example.com/api/v1/presence';

export async function token() {
  const response = await fetch('/presence-token');
  if (response.status >= 500) throw new Error(`/presence-token: ${response.status}`); // asked again soon
  return response.text(); // a sign-in page is no token, and counts as signed out
}
