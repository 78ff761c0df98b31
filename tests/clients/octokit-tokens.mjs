// Does the work of an organization's owner at the gateway at the first argument, with the credential on standard input; prints
// one line a call. tests/it/api/clients.rs says what there is to find.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const [base, modules] = process.argv.slice(2);
const found = createRequire(pathToFileURL(`${modules}/`)).resolve('@octokit/rest');
const { Octokit } = await import(pathToFileURL(found).href);
const silent = { debug() {}, info() {}, warn() {}, error() {} };
const octokit = new Octokit({ auth: readFileSync(0, 'utf8').trim(), baseUrl: base, log: silent });
const org = 'acme';
const { orgs } = octokit.rest;

async function list(endpoint, filter) {
  let pages = 0, entries = [];
  for await (const page of octokit.paginate.iterator(endpoint, { org, direction: 'asc', ...filter })) {
    pages += 1;
    entries = entries.concat(page.data);
  }
  return [pages, entries];
}
const said = ([pages, entries]) => `${entries.map((entry) => entry.token_name).join(' ')} on ${pages}`;
const show = async (name, call) => {
  try {
    console.log(name, await call());
  } catch (error) {
    const accepted = error.response?.headers['x-accepted-github-permissions'] ?? '';
    console.log(name, error.status, error.response?.data.message, `[${accepted}]`);
  }
};

const [pages, requests] = await list(orgs.listPatGrantRequests, { per_page: 2 });
await show('requests', () => said([pages, requests]));
const one = Object.fromEntries(requests.map((entry) => [entry.token_name, entry.id]));
const filters = {
  owner: { owner: ['carol'] },
  owners: { owner: ['bob', 'carol'], per_page: 2 },
  repository: { repository: 'gamma' },
  permission: { permission: 'issues' },
  token: { token_id: [requests[0].token_id, requests[2].token_id] },
  unused: { last_used_after: '2020-01-01T00:00:00Z' },
  newest: { direction: 'desc', sort: 'created_at' },
};
for (const [name, filter] of Object.entries(filters)) {
  await show(name, async () => said(await list(orgs.listPatGrantRequests, filter)));
}
await show('repositories', async () => {
  const pat_request_id = one.one;
  const each = await octokit.paginate(orgs.listPatGrantRequestRepositories, { org, pat_request_id, per_page: 1 });
  return each.map((repository) => repository.full_name).join(' ');
});
const review = (names, action) =>
  orgs.reviewPatGrantRequestsInBulk({ org, pat_request_ids: names.map((name) => one[name]), action, reason: 'all' });
await show('approve', async () =>
  (await orgs.reviewPatGrantRequest({ org, pat_request_id: one.one, action: 'approve' })).status);
await show('again', () => orgs.reviewPatGrantRequest({ org, pat_request_id: one.one, action: 'approve' }));
await show('deny', async () => (await review(['two'], 'deny')).status);
await show('approve all', async () => (await review(['three', 'four', 'five'], 'approve')).status);
await show('wrong', () => review(['five'], 'postpone'));
await show('left', async () => said(await list(orgs.listPatGrantRequests, {})));

const [grantPages, grants] = await list(orgs.listPatGrants, { per_page: 3 });
await show('grants', () => said([grantPages, grants]));
const grant = Object.fromEntries(grants.map((entry) => [entry.token_name, entry.id]));
await show('grant repositories', async () => {
  const { data } = await orgs.listPatGrantRepositories({ org, pat_id: grant.one });
  return data.map((repository) => repository.full_name).join(' ');
});
await show('revoke', async () => (await orgs.updatePatAccess({ org, pat_id: grant.one, action: 'revoke' })).status);
await show('revoke all', async () => {
  const pat_ids = [grant.three, grant.four];
  return (await orgs.updatePatAccesses({ org, pat_ids, action: 'revoke' })).status;
});
await show('kept', async () => said(await list(orgs.listPatGrants, { owner: ['bob', 'carol'] })));
await show('audit', async () => {
  const phrase = 'action:personal_access_token.access_revoked';
  const { data } = await octokit.request('GET /orgs/{org}/audit-log', { org, phrase });
  return data.map((entry) => entry.user_programmatic_access_name).sort().join(' ');
});
