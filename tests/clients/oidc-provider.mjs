// A provider of OpenID Connect for tests: one client, and an account for each login that its form is given, whose groups are
// what the second argument says. Serves plain HTTP on a free port of loopback, prints its URL, and ends with its input.
//
// usage: node oidc-provider.mjs <node_modules> '{"alice": ["acme-owners"]}' <redirect URI> <RS256 or ES256>
import { createServer } from "node:http";
import { generateKeyPairSync } from "node:crypto";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// Nobody reads on behind the URL.
console.info = () => {};
const [modules, groups, redirect, algorithm] = process.argv.slice(2);
const require = createRequire(modules + "/");
const { Provider } = await import(pathToFileURL(require.resolve("oidc-provider")));
const accounts = JSON.parse(groups);

const key = algorithm === "ES256" ? generateKeyPairSync("ec", { namedCurve: "P-256" }) : generateKeyPairSync("rsa", { modulusLength: 2048 });
const jwk = { ...key.privateKey.export({ format: "jwk" }), kid: "one", use: "sig", alg: algorithm };

const server = createServer();
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [{
    client_id: "portcullis",
    client_secret: "a secret: of+the client/",
    redirect_uris: [redirect],
    id_token_signed_response_alg: algorithm,
  }],
  jwks: { keys: [jwk] },
  claims: { openid: ["sub"], profile: ["preferred_username"], groups: ["groups"] },
  scopes: ["openid", "profile", "groups"],
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  cookies: { keys: ["a key of tests"] },
  findAccount: (_, subject) => {
    const login = subject.replace("subject-of-", "");
    const claims = { sub: subject, preferred_username: login, groups: accounts[login] };
    return { accountId: subject, claims: () => claims };
  },
  loadExistingGrant: async (context) => {
    const { client, session, params } = context.oidc;
    const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
    grant.addOIDCScope(params.scope);
    await grant.save();
    return grant;
  },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (_, interaction) => `/form/${interaction.uid}` },
});

const answer = provider.callback();
server.on("request", async (request, response) => {
  if (!request.url.startsWith("/form/")) return answer(request, response);
  if (request.method !== "POST") return response.end("post your login here");
  let body = "";
  for await (const piece of request) body += piece;
  const login = new URLSearchParams(body).get("login");
  await provider.interactionFinished(request, response, { login: { accountId: `subject-of-${login}` } });
});
provider.on("server_error", (_, error) => console.error(error));
console.log(issuer);
process.stdin.on("end", () => process.exit(0)).resume();
