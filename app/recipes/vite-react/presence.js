// Where the service is, and where your server gives a token.
export const service = {
  base: 'https://presence.example.com/api/v1/presence',
  token: { url: '/presence-token' },
};
