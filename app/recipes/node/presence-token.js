import { createHmac } from 'node:crypto';

/** A token of five minutes for this user. */
export function presenceToken(userId, name, tenant) {
  const encode = (part) => Buffer.from(JSON.stringify(part)).toString('base64url');
  const claims = { sub: userId, name, tenant, exp: Math.floor(Date.now() / 1000) + 300 };
  const signed = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}`;
  const hmac = createHmac('sha256', process.env.PRESENCE_JWT_KEY).update(signed);
  return `${signed}.${hmac.digest('base64url')}`;
}
