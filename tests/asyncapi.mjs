// Holds an AsyncAPI document against the specification, and each of its examples against its own schema.
//
//   node tests/asyncapi.mjs MODULES DOCUMENT
//
// MODULES is the directory whose node_modules has the parser and the validator. Deliberately does not know
// the server: whether the document says what the server does is asked by tests/suite/asyncapi.rs.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';

const [modules, file] = process.argv.slice(2);
const load = createRequire(join(resolve(modules), 'from-here'));
const { Parser } = load('@asyncapi/parser');
const { default: Ajv } = load('ajv');
const { default: addFormats } = load('ajv-formats');

const problems = [];
const { document, diagnostics } = await new Parser().parse(readFileSync(file, 'utf8'));
for (const { code, path, message } of diagnostics) {
  // That there is a newer version of AsyncAPI is no fault of the document.
  if (code !== 'asyncapi-latest-version') problems.push(`${code} at ${path.join('.')}: ${message}`);
}

// The schemas have AsyncAPI's own keywords, too.
const ajv = addFormats(new Ajv({ strict: false, allErrors: true }));
const used = new Set();
let examples = 0;
for (const operation of document?.operations() ?? []) {
  const names = [];
  for (const message of operation.messages()) {
    const [id, name, schema] = [message.id(), message.name(), message.payload().json()];
    names.push(name);
    used.add(id);
    if (schema.properties.type.const !== name) problems.push(`${id}: its type is not ${name}`);
    if (!message.summary()) problems.push(`${id}: no summary`);
    if (message.examples().length === 0) problems.push(`${id}: no example`);
    for (const example of message.examples()) {
      examples += 1;
      if (!ajv.validate(schema, example.payload())) problems.push(`${id}, ${example.name()}: ${ajv.errorsText()}`);
    }
  }
  if (new Set(names).size !== names.length) problems.push(`${operation.id()}: a type occurs twice`);
  console.log(`${operation.action()}: ${names.sort().join(' ')}`);
}
for (const message of document?.components().messages() ?? []) {
  if (!used.has(message.id())) problems.push(`${message.id()}: in no operation`);
}
if (examples === 0) problems.push('no examples');
console.log(problems.join('\n') || `${examples} examples are valid`);
process.exitCode = problems.length === 0 ? 0 : 1;
