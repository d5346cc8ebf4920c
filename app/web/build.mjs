// Bundles src/ into the folder given as argument: hashed names, .br and .gz beside each asset.
//
// The same sources give the same bytes: no times, no paths of this machine.
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { build } from "esbuild";

const root = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2];
const assets = join(out, "assets");
await mkdir(assets, { recursive: true });

const { metafile } = await build({
  absWorkingDir: root,
  entryPoints: { page: "src/main.tsx", feed: "src/feed_worker.ts", docs: "src/docs.ts" },
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022"],
  jsx: "automatic",
  jsxImportSource: "preact",
  outdir: assets,
  entryNames: "[name]-[hash]",
  assetNames: "[name]-[hash]",
  legalComments: "none",
  charset: "utf8",
  metafile: true,
  write: true,
});

const names = new Map();
for (const [file, output] of Object.entries(metafile.outputs)) {
  names.set(basename(file).replace(/-[A-Z0-9]{8}(?=\.)/, ""), basename(file));
  if (output.cssBundle) names.set(`${basename(output.cssBundle)}`, basename(output.cssBundle));
}

// Swagger UI's script comes as a finished bundle; it is copied under a hashed name.
const swagger = await readFile(join(root, "node_modules/swagger-ui-dist/swagger-ui-bundle.js"), "utf8");
const bundle = swagger.replace(/\n?\/\/# sourceMappingURL=.*$/m, "");
const hash = createHash("sha256").update(bundle).digest("hex").slice(0, 8).toUpperCase();
names.set("swagger-ui-bundle.js", `swagger-ui-bundle-${hash}.js`);
await writeFile(join(assets, names.get("swagger-ui-bundle.js")), bundle);
const icon = await readFile(join(root, "src/icon.svg"));
names.set("icon.svg", `icon-${createHash("sha256").update(icon).digest("hex").slice(0, 8).toUpperCase()}.svg`);
await writeFile(join(assets, names.get("icon.svg")), icon);

for (const page of ["index.html", "docs.html"]) {
  const html = await readFile(join(root, "src", page), "utf8");
  const filled = html.replace(/\{\{(.+?)\}\}/g, (_, name) => {
    if (!names.has(name)) throw new Error(`${page} names ${name}, which was not built`);
    return names.get(name);
  });
  await writeFile(join(out, page), filled);
}

await writeFile(join(out, "THIRD_PARTY_NOTICES.txt"), await notices(Object.keys(metafile.inputs)));

for (const name of new Set(names.values())) {
  const content = await readFile(join(assets, name));
  const brotli = brotliCompressSync(content, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } });
  await writeFile(join(assets, `${name}.br`), brotli);
  await writeFile(join(assets, `${name}.gz`), gzipSync(content, { level: 9 }));
}

// The licence of every package whose code really is in the output.
async function notices(inputs) {
  const used = new Set(["swagger-ui-dist"]);
  for (const input of inputs) {
    const found = input.match(/node_modules\/((?:@[^/]+\/)?[^/]+)/);
    if (found) used.add(found[1]);
  }
  const parts = [];
  for (const name of [...used].sort()) {
    const folder = join(root, "node_modules", name);
    const { version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    let text = "";
    for (const file of ["LICENSE.md", "LICENSE", "LICENSE.txt", "license"]) {
      text ||= await readFile(join(folder, file), "utf8").catch(() => "");
    }
    parts.push(`${name} ${version} (${license})\n\n${text.trim()}\n`);
  }
  return parts.join(`\n${"-".repeat(72)}\n\n`);
}
