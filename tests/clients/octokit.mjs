// Drives the gateway at the first argument with the token on standard input; prints one line a call.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const [base, modules] = process.argv.slice(2);
const found = createRequire(pathToFileURL(`${modules}/`)).resolve('@octokit/rest');
const { Octokit } = await import(pathToFileURL(found).href);
const silent = { debug() {}, info() {}, warn() {}, error() {} };
const octokit = new Octokit({ auth: readFileSync(0, 'utf8').trim(), baseUrl: base, log: silent });
const alpha = { owner: 'acme', repo: 'alpha' };
const message = 'm', content = '', path = 'docs/a b.md';
const calls = {
  read: () => octokit.rest.repos.getContent({ ...alpha, path }),
  write: () => octokit.rest.repos.createOrUpdateFileContents({ ...alpha, path, message, content }),
  other: () => octokit.rest.repos.get({ owner: 'acme', repo: 'beta' }),
  search: () => octokit.rest.search.code({ q: 'x' }),
};
for (const [name, call] of Object.entries(calls)) {
  try {
    console.log(name, (await call()).status);
  } catch (error) {
    const accepted = error.response?.headers['x-accepted-github-permissions'] ?? '';
    console.log(name, error.status, error.response?.data.message, `[${accepted}]`);
  }
}
