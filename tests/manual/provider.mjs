// A certified OAuth server that is not ours (npm oidc-provider), at the paths of Entra's v2 endpoints.
//
//   node provider.mjs TENANT APP SECRET KEYS    KEYS: a JWK set with the app's public keys
//
// Prints its address, then one line for each grant and each refusal. It checks secrets, verifies assertions by their
// signature, audience and end, and gives device codes, each of which a person approves after a moment.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const [tenant, app, secret, keys] = process.argv.slice(2);
const resource = 'https://api.securitycenter.microsoft.com';
const scope = `${resource}/.default`;
const grants = ['client_credentials', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'];
const client = {
  grant_types: grants, response_types: [], redirect_uris: [], scope: `${scope} offline_access openid`,
};
const server = createServer();
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  // One app by its secret, one by a signed assertion, one that keeps no secret.
  clients: [
    { ...client, client_id: app, client_secret: secret, token_endpoint_auth_method: 'client_secret_post' },
    {
      ...client, client_id: app.replace(/^./, 'a'), token_endpoint_auth_method: 'private_key_jwt',
      jwks: JSON.parse(readFileSync(keys)),
    },
    { ...client, client_id: app.replace(/^./, 'b'), token_endpoint_auth_method: 'none' },
  ],
  clientAuthMethods: ['client_secret_post', 'private_key_jwt', 'none'],
  scopes: ['openid', 'offline_access', scope],
  routes: { token: `/${tenant}/oauth2/v2.0/token`, device_authorization: `/${tenant}/oauth2/v2.0/devicecode` },
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => resource,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope, audience: resource, accessTokenFormat: 'jwt', accessTokenTTL: 600, jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
  extraTokenClaims: (_, token) => ({ tid: tenant, appid: token.clientId, roles: ['Machine.Scan', 'Machine.Read.All'] }),
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  issueRefreshToken: () => true,
  rotateRefreshToken: true,
});
const say = (word) => (ctx, error) => {
  const grant = ctx.oidc?.params?.grant_type ?? 'devicecode';
  console.log(word, ctx.oidc?.client?.clientId ?? '-', ctx.oidc?.client?.clientAuthMethod ?? '-', grant,
    error ? `${error.error}: ${error.error_detail ?? error.error_description}` : '');
};
provider.on('grant.success', say('granted'));
provider.on('grant.error', say('refused'));
provider.on('server_error', (ctx, error) => console.log('broken', error));

// What a person's browser would lead to.
const approve = async (code) => {
  const found = await provider.DeviceCode.findByUserCode(code, { ignoreExpiration: true });
  const grant = new provider.Grant({ accountId: 'someone', clientId: found.clientId });
  grant.addOIDCScope('openid offline_access');
  grant.addResourceScope(resource, scope);
  Object.assign(found, {
    accountId: 'someone', grantId: await grant.save(), scope: `openid offline_access ${scope}`, resource,
    authTime: Math.floor(Date.now() / 1000), claims: {},
  });
  await found.save();
  console.log('approved', found.clientId);
};
provider.use(async (ctx, next) => {
  await next();
  if (ctx.path.endsWith('/devicecode') && ctx.status === 200) {
    ctx.body = { ...ctx.body, interval: 1 };
    const code = ctx.body.user_code.replace(/[^A-Z0-9]/gi, '');
    setTimeout(() => approve(code).catch((error) => console.log('broken', error)), 1500);
  }
});
server.on('request', provider.callback());
console.log('at', issuer);
