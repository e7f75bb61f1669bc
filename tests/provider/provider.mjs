// An OpenID certified provider for the tests: `node provider.mjs FOLDER PORT`.
// FOLDER has clients.json, as `oidc-provider` takes them, and people.json: what is said of each person, by the name that
// they sign in with. Both are made by the tests; people.json is read anew at each sign-in.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Provider } from "oidc-provider";

const [folder, port] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const read = (name) => JSON.parse(readFileSync(join(folder, name), "utf8"));

const provider = new Provider(issuer, {
  clients: read("clients.json"),
  cookies: { keys: ["of the tests only"] },
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"], groups: ["groups"] },
  findAccount: (_, name) => {
    const claims = read("people.json")[name];
    return claims && { accountId: name, claims: async () => ({ sub: name, ...claims }) };
  },
  // Everybody agrees to everything, so that there is one page to fill in and not two.
  loadExistingGrant: async (ctx) => {
    const { client, session, provider: { Grant } } = ctx.oidc;
    const grant = new Grant({ clientId: client.clientId, accountId: session.accountId });
    grant.addOIDCScope("openid email profile groups");
    await grant.save();
    return grant;
  },
});
provider.on("server_error", (_, error) => console.error(error));
provider.listen(Number(port), "127.0.0.1");
