// Bundles the worker: `node worker/build.mjs [FILE]`, into worker/dist/worker.js when no file is named.
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

/** Where `cargo xtask test worker` installs the packages, each at one version. */
export const TOOLS = new URL("../target/worker-tools/", import.meta.url);

/** Names of properties that are the worker's own: they may be shortened. None of a platform's, of JSON or of headers. */
const OWN = `
  again appStreak fails failedOfLate compare despair doubt ejection ejections endWait beginWait hedgeAfter hedges hopeless isEmpty
  isLosing isSuspect isWhole late lateSince learn life lives lookAfter mayHope p95 published readmit readmitted refresh
  retries showsLife silence steer stopWaiting streak tick ticked trial trialFailed tuning usable verdict
  answered failed follow spend earn beside lane lanes began since kind target reply group repeat wait stop stale sent take
  run look ended plan order table left waits ids seen until for_ms why page weight limit due suspect silent forgiven retry_burst first_byte sample config picture first
`;

export async function build(file) {
  const esbuild = createRequire(new URL("x.js", TOOLS))("esbuild");
  const built = await esbuild.build({
    entryPoints: [fileURLToPath(new URL("src/index.ts", import.meta.url))],
    outfile: file,
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2024",
    mangleProps: new RegExp(`^(${OWN.trim().split(/\s+/).join("|")})$`),
    banner: { js: "// From worker/src." },
    tsconfigRaw: { compilerOptions: { useDefineForClassFields: false } },
    write: file !== undefined,
  });
  return built.outputFiles?.[0]?.text;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await build(process.argv[2] ?? fileURLToPath(new URL("dist/worker.js", import.meta.url)));
}
