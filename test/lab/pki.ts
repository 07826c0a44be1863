/**
 * Keys and certificates of the lab, made once with openssl: the mesh's plug-in authority under Istio's file names, an authority that the
 * mesh does not know with the certificates of TLS apps and gateways, and RSA keys for JSON Web Tokens.
 */
import { execFileSync } from "node:child_process";
import { createPrivateKey, createPublicKey, createSign, generateKeyPairSync, type KeyObject } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** What a token says. `expIn` and `nbfIn` are seconds from now; `expIn` null leaves `exp` out; `alg` none leaves the signature out. */
export interface TokenClaims {
  readonly key?: "sa" | "jwt" | "jwt2";
  readonly alg?: "RS256" | "none";
  readonly expIn?: number | null;
  readonly nbfIn?: number;
  readonly [claim: string]: unknown;
}

/** Folders of certificates, and tokens. */
export interface Pki {
  /** root-cert.pem, ca-cert.pem, ca-key.pem and cert-chain.pem of the mesh. */
  readonly mesh: string;
  /** NAME-cert.pem and NAME-key.pem of servers and clients outside of the mesh, and ca-cert.pem. */
  readonly external: string;
  jwks(key: string): string;
  token(claims: TokenClaims): string;
}

interface Authority {
  readonly key: string;
  readonly cert: string;
}

const DAYS = "3650";
const TOKEN_SECONDS = 3600;
/** DNS names by certificate, signed by the authority outside of the mesh. */
const EXTERNAL_NAMES: Readonly<Record<string, readonly string[]>> = {
  app: ["app.lab.internal", "*.lab.internal", "*.example.com", "*.default.svc.cluster.local"],
  "gw-a": ["a.example.com"],
  "gw-b": ["b.example.com"],
  client: ["lab-client.example.com"],
};

/** The PKI in that folder, made when it is not there yet. Proxies, which run as another user, may read all of it. */
export function openPki(folder: string): Pki {
  const directory = join(folder, "pki");
  const made = join(directory, "made");
  if (!existsSync(made)) {
    makePki(directory);
    execFileSync("chmod", ["-R", "a+rX", directory]);
    writeFileSync(made, "");
  }
  chmodSync(folder, 0o755);
  const keyOf = (name: string): KeyObject => createPrivateKey(readFileSync(join(directory, "keys", `${name}.pem`)));
  return {
    mesh: join(directory, "mesh"),
    external: join(directory, "external"),
    jwks: (name) => {
      const jwk = createPublicKey(keyOf(name)).export({ format: "jwk" });
      return JSON.stringify({ keys: [{ ...jwk, kid: name, alg: "RS256", use: "sig" }] });
    },
    token: (claims) => signToken(claims, keyOf),
  };
}

function makePki(directory: string): void {
  const mesh = join(directory, "mesh");
  const external = join(directory, "external");
  const keys = join(directory, "keys");
  for (const folder of [mesh, external, keys]) mkdirSync(folder, { recursive: true });

  const root = makeRoot(mesh, "root", "/O=Lab/CN=Lab mesh root");
  const ca = makeIntermediate(mesh, "ca", "/O=Lab/CN=Lab mesh intermediate", root);
  writeFileSync(join(mesh, "cert-chain.pem"), readFileSync(ca.cert, "utf8") + readFileSync(root.cert, "utf8"));

  const outside = makeRoot(external, "ca", "/O=Lab/CN=Lab external CA");
  for (const [name, names] of Object.entries(EXTERNAL_NAMES)) makeLeaf(external, name, names, outside);
  makeLeaf(external, "stranger", ["stranger.example.com"], makeRoot(external, "other-ca", "/O=Lab/CN=Untrusted CA"));

  for (const name of ["sa", "jwt", "jwt2"]) {
    const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    writeFileSync(join(keys, `${name}.pem`), privateKey.export({ type: "pkcs8", format: "pem" }));
  }
}

function makeRoot(folder: string, name: string, subject: string): Authority {
  const key = makeKey(folder, name);
  const cert = join(folder, `${name}-cert.pem`);
  const extensions = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"];
  openssl(["req", "-x509", "-new", "-key", key, "-sha256", "-days", DAYS, "-subj", subject, ...extensions, "-out", cert]);
  return { key, cert };
}

function makeIntermediate(folder: string, name: string, subject: string, issuer: Authority): Authority {
  const key = makeKey(folder, name);
  return {
    key,
    cert: sign(
      folder,
      name,
      subject,
      issuer,
      "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign,digitalSignature\n",
    ),
  };
}

function makeLeaf(folder: string, name: string, names: readonly string[], issuer: Authority): void {
  makeKey(folder, name);
  const alternatives = names.map((one) => `DNS:${one}`).join(",");
  sign(
    folder,
    name,
    `/CN=${names[0]}`,
    issuer,
    `subjectAltName=${alternatives}\nextendedKeyUsage=serverAuth,clientAuth\nkeyUsage=digitalSignature\n`,
  );
}

function makeKey(folder: string, name: string): string {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const file = join(folder, `${name}-key.pem`);
  writeFileSync(file, privateKey.export({ type: "pkcs8", format: "pem" }));
  return file;
}

function sign(folder: string, name: string, subject: string, issuer: Authority, extensions: string): string {
  const request = openssl(["req", "-new", "-key", join(folder, `${name}-key.pem`), "-sha256", "-subj", subject]);
  const extensionFile = join(folder, `${name}.cnf`);
  const cert = join(folder, `${name}-cert.pem`);
  writeFileSync(extensionFile, extensions);
  const signed = ["-CA", issuer.cert, "-CAkey", issuer.key, "-CAcreateserial", "-days", DAYS, "-sha256", "-extfile", extensionFile];
  writeFileSync(cert, openssl(["x509", "-req", ...signed], request));
  return cert;
}

function openssl(args: readonly string[], input?: Buffer): Buffer {
  return execFileSync("openssl", args, { input, stdio: ["pipe", "pipe", "pipe"] });
}

function signToken(
  { key = "jwt", alg = "RS256", expIn = TOKEN_SECONDS, nbfIn, ...claims }: TokenClaims,
  keyOf: (name: string) => KeyObject,
): string {
  const now = Math.floor(Date.now() / 1000);
  const payload = {
    iat: now - 10,
    ...claims,
    ...(expIn === null ? {} : { exp: now + expIn }),
    ...(nbfIn === undefined ? {} : { nbf: now + nbfIn }),
  };
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${encode({ alg, typ: "JWT", kid: key })}.${encode(payload)}`;
  return alg === "none" ? `${text}.` : `${text}.${createSign("RSA-SHA256").update(text).sign(keyOf(key)).toString("base64url")}`;
}
