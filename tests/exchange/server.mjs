// A token endpoint: `oidc-provider`, with the grant of RFC 8693 for tokens that the keys in a file signed.
//
// server.mjs PORT JWKS AUDIENCE

import { readFileSync } from "node:fs";
import { createLocalJWKSet, jwtVerify } from "jose";
import Provider, { errors } from "oidc-provider";

const [port, keysFile, audience] = process.argv.slice(2);
const GRANT = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT = "urn:ietf:params:oauth:token-type:jwt";
const keys = createLocalJWKSet(JSON.parse(readFileSync(keysFile, "utf8")));

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: "ambit",
      client_secret: "the secret of ambit as a client",
      grant_types: [GRANT],
      redirect_uris: [],
      response_types: [],
    },
  ],
  ttl: { AccessToken: 60 },
});

provider.registerGrantType(
  GRANT,
  async (ctx) => {
    const { client, params } = ctx.oidc;
    if (params.subject_token_type !== JWT) throw new errors.InvalidRequest("another kind of token");
    if (params.audience !== audience) throw new errors.InvalidTarget("another service");
    let subject;
    try {
      const verified = await jwtVerify(params.subject_token, keys, {
        algorithms: ["ES256"],
        audience: "https://sts.example.net",
        issuer: "spiffe://ambit.local",
        maxTokenAge: "5m",
      });
      subject = verified.payload.sub;
    } catch {
      throw new errors.InvalidGrant("the token is not believed");
    }
    const token = new provider.AccessToken({ accountId: subject, client, grantId: "exchange", gty: GRANT });
    token.resourceServer = new provider.ResourceServer(audience, {
      accessTokenFormat: "jwt",
      audience,
      scope: "",
      jwt: { sign: { alg: "RS256" } },
    });
    ctx.body = {
      access_token: await token.save(),
      issued_token_type: "urn:ietf:params:oauth:token-type:access_token",
      token_type: token.tokenType,
      expires_in: token.expiration,
    };
  },
  ["subject_token", "subject_token_type", "audience", "resource", "scope", "requested_token_type"],
);

provider.listen(Number(port), "127.0.0.1");
