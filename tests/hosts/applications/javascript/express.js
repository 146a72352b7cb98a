// An Express application: an editor at /orders/7, and those that Vite has built at /react/?id=7 and /vue/?id=7.
import { readFileSync } from 'node:fs';
import express from 'express';
import session from 'express-session';
import { sendPresenceToken } from './presence-route.js';

const app = express();
const page = readFileSync('order.html', 'utf8');

app.use(express.static('public'));
app.use(session({ secret: "the host's own", resave: false, saveUninitialized: false, name: 'express' }));

app.get('/presence-token', sendPresenceToken);
app.get('/sign-in/:id/:name', (request, response) => {
  request.session.user = { id: Number(request.params.id), name: request.params.name };
  response.redirect('/orders/1');
});
app.get('/sign-out', (request, response) => {
  request.session.destroy(() => response.send('Signed out.'));
});
app.get('/orders/:id', (request, response) => {
  response.send(page.replace('id="7"', `id="${Number(request.params.id)}"`));
});
app.listen(process.env.PORT, '127.0.0.1');
