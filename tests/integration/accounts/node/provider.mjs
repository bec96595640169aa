// An OpenID Connect provider with one client and two people; prints its port, ends with its input.
import Provider from 'oidc-provider';

const [secret, redirect] = process.argv.slice(2);
const people = {
  petra: { preferred_username: 'petra', name: 'Petra Plant', email: 'petra@plant.example', groups: ['shift'] },
  erin: { preferred_username: 'erin', name: 'Another Erin', email: 'erin@plant.example', groups: [] },
};
const { createServer } = await import('node:http');
const server = createServer();
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const issuer = `http://127.0.0.1:${server.address().port}`;
const provider = new Provider(issuer, {
  clients: [{ client_id: 'millwright', client_secret: secret, redirect_uris: [redirect] }],
  claims: { openid: ['sub'], profile: ['name', 'preferred_username', 'groups'], email: ['email'] },
  features: { devInteractions: { enabled: true } },
  findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id, ...people[id] }) }),
});
server.on('request', provider.callback());
console.log(issuer);
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
