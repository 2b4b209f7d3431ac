// An OpenID Connect provider (npm's oidc-provider) that gives tokens to one client, by client credentials.
// Arguments: its port, and a file with its private keys as a JSON Web Key Set, the first of which signs; without it,
// keys that are the same everywhere.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

// Where `make issuer` has installed it.
const require = createRequire(new URL("../../../.venv-issuer/", import.meta.url));
const { default: Provider } = await import(require.resolve("oidc-provider"));
const [port, keys] = process.argv.slice(2);
const provider = new Provider(`http://127.0.0.1:${port}`, {
  ...(keys && { jwks: JSON.parse(readFileSync(keys, "utf8")) }),
  clients: [{
    client_id: "camera-7", client_secret: "the secret of camera 7", grant_types: ["client_credentials"],
    redirect_uris: [], response_types: [],
  }],
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: async (_context, resource) => ({
        scope: "", audience: resource, accessTokenFormat: "jwt", accessTokenTTL: 600,
        jwt: { sign: { alg: process.env.ISSUER_ALGORITHM ?? "RS256" } },
      }),
    },
  },
  extraTokenClaims: async () => ({ tenant: "street", models: ["tiny"] }),
});
provider.listen(Number(port), "127.0.0.1", () => console.log("listening"));
