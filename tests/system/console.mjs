//! A walk through the console in a real Chromium, as `tests/system/console` starts it: does what an operator does, looks at
//! each view in light and dark, on a desktop and on a phone, with axe-core, and takes pictures.
//!
//! Prints one line of JSON for each thing seen to be wrong, and fails if there was one. Never changes anything but the relay
//! it was given.

import { createRequire } from 'node:module';
import fs from 'node:fs';
import path from 'node:path';

const plan = JSON.parse(process.argv[2]);
const require = createRequire(path.join(plan.modules, 'node_modules', 'x.js'));
const { chromium } = require('playwright-core');
const axe = fs.readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const SIZES = { desktop: { width: 1360, height: 850 }, phone: { width: 360, height: 740 } };
// The machine may be busy with other tests; whoever waits for something that never comes waits this long.
const PATIENCE = 45_000;
const wrong = [];
// Requests that are meant to be refused: the browser writes each to its console.
let refusals = 0;

function fault(what, detail) {
  wrong.push({ what, detail });
  console.log(JSON.stringify({ what, detail }));
}

function check(what, holds, detail = '') {
  if (!holds) fault(what, detail);
}

async function open(browser, scheme, size) {
  const context = await browser.newContext({ viewport: SIZES[size], colorScheme: scheme, isMobile: size === 'phone', hasTouch: size === 'phone', reducedMotion: 'reduce', ignoreHTTPSErrors: true, acceptDownloads: true });
  context.setDefaultTimeout(60_000);
  const page = await context.newPage();
  page.on('console', (message) => {
    const text = message.text();
    if (/Failed to load resource.*\b4\d\d\b/.test(text) && refusals > 0) refusals -= 1;
    else if (['error', 'warning'].includes(message.type())) fault('console', `${page.url()}: ${text}`);
  });
  page.on('pageerror', (error) => fault('page error', error.stack));
  page.on('dialog', (dialog) => { fault('a script of somebody else ran', dialog.message()); dialog.dismiss(); });
  page.on('request', (request) => {
    if (!request.url().startsWith(plan.base) && !request.url().startsWith('data:')) fault('asked somebody else', request.url());
  });
  await page.addInitScript(() => document.addEventListener('securitypolicyviolation', (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`)));
  return page;
}

async function login(page, token) {
  await page.goto(`${plan.base}/console/`);
  await page.fill('#token', token);
  await page.click('button[type=submit]');
  await page.waitForSelector('.shell');
}

async function settle(page) {
  await page.waitForFunction(() => document.querySelector('h1') && !document.querySelector('.skeleton'), null, { timeout: PATIENCE }).catch(() => fault('still loading', page.url()));
  await page.waitForTimeout(250);
}

async function visit(page, hash) {
  await page.goto(`${plan.base}/console/${hash}`);
  await settle(page);
}

async function judge(page, name) {
  // Playwright's own evaluation is not subject to the policy of the page.
  await page.evaluate(axe);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  for (const one of found.violations) fault(`axe: ${one.id}`, `${name}: ${one.help}: ${one.nodes.map((node) => node.html.slice(0, 120)).slice(0, 3).join(' | ')}`);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  check('scrolls sideways', wide <= 0, `${name}: ${wide} px`);
  const trouble = await page.evaluate(() => [...document.querySelectorAll('.page .trouble')].map((node) => node.textContent).join(' / '));
  check('shows trouble', trouble === '' || name.startsWith('refused'), `${name}: ${trouble}`);
}

async function shoot(page, name, options = {}) {
  if (plan.shots) await page.screenshot({ path: path.join(plan.shots, `${name}.png`), ...options });
}

const dialogOf = (page) => page.locator('dialog[open]');

async function submitDialog(page, name) {
  await page.waitForFunction(() => { const go = document.querySelector('dialog[open] button[type=submit]'); return go && !go.disabled; }, null, { timeout: PATIENCE }).catch(() => fault('a dialog can not be sent', name));
  await dialogOf(page).locator('button[type=submit]').click();
  await page.waitForSelector('dialog[open]', { state: 'detached', timeout: PATIENCE }).catch(async () => {
    fault('a dialog stays', `${name}: ${await dialogOf(page).innerText()}`);
    await page.keyboard.press('Escape');
  });
}

async function toastSays(page, pattern, name) {
  await page.waitForFunction((text) => new RegExp(text, 'i').test(document.getElementById('toasts').textContent), pattern.source, { timeout: PATIENCE })
    .catch(async () => fault('no notice', `${name}: expected ${pattern}, have ${await page.locator('#toasts').innerText()}`));
  for (const close of await page.locator('#toasts button').all()) await close.click({ timeout: 1000 }).catch(() => {});
}

async function firstId(page, filter) {
  const answer = await page.evaluate((text) => fetch(`/api/v1/queue?limit=5&filter=${encodeURIComponent(text)}`).then((response) => response.json()), filter);
  return answer.items?.[0]?.id;
}

/** Each view once, judged. */
async function views(page, form) {
  const id = await firstId(page, plan.dead);
  const list = {
    overview: '#/overview', queue: '#/queue', message: `#/messages/${id}`, history: '#/history', destinations: '#/destinations',
    destination: `#/explain?domain=${plan.domain}`, rules: '#/rules', suppression: '#/suppression', plugins: '#/plugins', plugin: `#/plugins/${plan.trial}`, decisions: `#/decisions?plugin=${plan.trial}`, bans: '#/bans', audit: '#/audit', live: '#/live',
  };
  for (const [name, hash] of Object.entries(list)) {
    await visit(page, hash);
    if (name === 'live') await page.waitForSelector('.event', { timeout: PATIENCE }).catch(() => fault('no event', form));
    if (name === 'overview') await page.waitForTimeout(500);
    await judge(page, `${name}, ${form}`);
    check('no heading', (await page.locator('h1').innerText()).length > 0, name);
    if (form === 'light desktop') await shoot(page, name);
    if (form === 'dark phone' && ['overview', 'queue', 'message'].includes(name)) await shoot(page, `${name}-phone`);
    if (form === 'dark desktop' && ['overview', 'plugin'].includes(name)) await shoot(page, `${name}-dark`);
  }
}

async function walkOverview(page) {
  await visit(page, '#/overview');
  await page.waitForSelector('.alert', { timeout: PATIENCE }).catch(() => fault('overview', 'nothing needs attention, though hosts are dead'));
  check('overview: flow', await page.locator('.flow-drawing rect').count() > 5, 'no columns are drawn');
  check('overview: shape', await page.locator('.shape tbody tr').count() > 0, 'no destination waits');
  check('overview: reasons', await page.locator('.reasons li').count() > 0, 'no reason for deferrals');
  check('overview: plugins', await page.locator('td, th', { hasText: plan.trial }).count() > 0, 'plugins are missing');
  await page.locator('.flow-stage').first().focus();
  await page.keyboard.press('ArrowLeft');
  check('overview: figures are read out', /\d\d:\d\d/.test(await page.locator('.flow .unseen').first().textContent()), '');
  await page.locator('.segments button', { hasText: 'Reply' }).click();
  await page.waitForFunction(() => /4\d\d/.test(document.querySelector('.shape tbody')?.textContent || ''), null, { timeout: PATIENCE }).catch(() => fault('overview: by reply', 'no reply in the table'));
  await page.locator('.shape tbody a').first().click();
  await page.waitForSelector('.queue-table');
  check('overview: to the queue', (await page.locator('[data-search]').inputValue()).startsWith('last-reply'), page.url());
  check('overview: its mail is there', await page.locator('.queue-table tbody tr').count() > 0, '');
}

async function walkKeyboard(page) {
  await visit(page, '#/overview');
  await page.keyboard.press('Tab');
  await page.evaluate(() => document.querySelector('.skip').focus());
  await page.keyboard.press('Enter');
  check('skip link', await page.evaluate(() => document.activeElement?.id === 'page'), '');
  await page.keyboard.press('g');
  await page.keyboard.press('q');
  await settle(page);
  check('g q', page.url().includes('#/queue'), page.url());
  await page.keyboard.press('/');
  check('slash', await page.evaluate(() => document.activeElement?.hasAttribute('data-search')), '');
  await page.keyboard.press('Escape');
  await page.keyboard.press('j');
  check('j', await page.evaluate(() => document.activeElement?.closest('tbody tr') !== null), '');
  await page.keyboard.press('?');
  await page.waitForSelector('dialog[open]');
  await judge(page, 'help');
  await page.keyboard.press('Escape');
  await page.waitForSelector('dialog[open]', { state: 'detached' });
  const before = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.keyboard.press('t');
  check('t', before !== await page.evaluate(() => getComputedStyle(document.body).backgroundColor), 'the theme stays');
  await page.keyboard.press('t');
}

async function walkQueue(page) {
  await visit(page, '#/queue');
  refusals += 4;
  await page.fill('[data-search]', 'domain = = x');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => /column/.test(document.querySelector('.filter-error')?.textContent || ''), null, { timeout: PATIENCE }).catch(() => fault('queue', 'what is no filter is not refused with its column'));
  await judge(page, 'refused filter');
  await shoot(page, 'queue-filter');
  refusals = 0;
  await page.fill('[data-search]', plan.dead);
  await page.keyboard.press('Enter');
  await page.waitForFunction((text) => location.hash.includes(encodeURIComponent(text).replace(/%20/g, '+')) && document.querySelector('.queue-table tbody tr'), plan.dead, { timeout: PATIENCE }).catch(() => fault('queue', 'the filter shows nothing'));
  await settle(page);
  await page.locator('.queue-table tbody input[type=checkbox]').nth(0).check();
  await page.locator('.queue-table tbody input[type=checkbox]').nth(1).check();
  check('queue: selection', /2 messages/.test(await page.locator('.bulk').innerText()), await page.locator('.bulk').innerText());
  const bulk = (label) => page.locator('.bulk').getByRole('button', { name: label });
  await bulk('Hold').click();
  await page.waitForFunction(() => /2 messages/.test(document.querySelector('dialog[open] .preview')?.textContent || ''), null, { timeout: PATIENCE }).catch(() => fault('queue: preview', 'the count of two is not shown'));
  await dialogOf(page).getByLabel('Reason').fill('looks odd');
  await judge(page, 'hold dialog');
  await shoot(page, 'bulk');
  await submitDialog(page, 'hold');
  await toastSays(page, /2 messages held/, 'hold');
  await page.waitForSelector('.queue-table');

  await visit(page, `#/queue?filter=${encodeURIComponent('held')}`);
  check('queue: held', await page.locator('.queue-table tbody tr').count() >= 2, 'what was held is not shown as held');
  await page.getByRole('button', { name: 'Select all that fit' }).click();
  await bulk('Release').click();
  await submitDialog(page, 'release');
  await toastSays(page, /released/, 'release');

  await visit(page, `#/queue?filter=${encodeURIComponent(plan.dead)}`);
  await page.getByRole('button', { name: 'Select all that fit' }).click();
  await bulk('Retry').click();
  await submitDialog(page, 'retry');
  await toastSays(page, /due at once/, 'retry');
  await page.getByRole('button', { name: 'Select all that fit' }).click();
  await bulk('Reschedule').click();
  await dialogOf(page).getByLabel('In', { exact: true }).fill('2h');
  await dialogOf(page).getByLabel('Spread over').fill('10m');
  await submitDialog(page, 'reschedule');
  await toastSays(page, /rescheduled/, 'reschedule');
  await page.locator('.queue-table tbody input[type=checkbox]').nth(0).check();
  await bulk('Reroute').click();
  await dialogOf(page).getByLabel('To', { exact: true }).fill('no such route');
  refusals += 1;
  await page.waitForFunction(() => !document.querySelector('dialog[open] button[type=submit]').disabled);
  await dialogOf(page).locator('button[type=submit]').click();
  await dialogOf(page).locator('.trouble').waitFor({ timeout: PATIENCE }).catch(() => fault('reroute', 'a route that is none is not refused'));
  await judge(page, 'refused route');
  refusals = 0;
  await dialogOf(page).getByLabel('To', { exact: true }).fill(plan.alive);
  await submitDialog(page, 'reroute');
  await toastSays(page, /rerouted/, 'reroute');

  await visit(page, `#/queue?filter=${encodeURIComponent(plan.dead)}`);
  await page.locator('.queue-table tbody input[type=checkbox]').nth(0).check();
  await bulk('Bounce').click();
  await dialogOf(page).getByLabel('Reason').fill('the company is closed');
  check('bounce asks first', await dialogOf(page).locator('button[type=submit]').isDisabled(), 'it can be sent without the tick');
  await dialogOf(page).getByLabel('I know').check();
  await submitDialog(page, 'bounce');
  await toastSays(page, /1 message bounced/, 'bounce');
  await settle(page);
  await page.locator('.queue-table tbody input[type=checkbox]').nth(0).check();
  await bulk('Remove').click();
  await page.waitForTimeout(300);
  await dialogOf(page).getByLabel('I know').check();
  await submitDialog(page, 'remove');
  await toastSays(page, /1 message removed/, 'remove');
}

async function walkMessage(page) {
  const id = await firstId(page, plan.dead);
  await visit(page, `#/messages/${id}`);
  check('message: attempts', await page.locator('.attempt').count() > 0, 'no attempt is shown');
  check('message: header', /Subject/.test(await page.locator('.header-lines').innerText()), '');
  check('message: decisions', await page.locator('.decision').count() > 0, 'no decision is shown');
  check('message: hostile text', /<script>|<img/.test(await page.locator('.header-lines').innerText()) && await page.locator('.header-lines script, .header-lines img').count() === 0, 'the subject is not text');
  await page.getByRole('button', { name: 'Show content' }).click();
  await dialogOf(page).locator('.content').waitFor({ timeout: PATIENCE }).catch(() => fault('message', 'no content'));
  await judge(page, 'content dialog');
  await page.keyboard.press('Escape');
  const [download] = await Promise.all([page.waitForEvent('download', { timeout: PATIENCE }).catch(() => null), page.getByRole('link', { name: 'Download' }).click()]);
  check('message: download', download?.suggestedFilename()?.endsWith('.eml'), String(download?.suggestedFilename()));
  await page.locator('.page-actions').getByRole('button', { name: 'Retry' }).click();
  await submitDialog(page, 'retry of one');
  await toastSays(page, /1 message due at once/, 'retry of one');
}

async function walkDestinations(page) {
  await visit(page, '#/destinations');
  await page.locator('.segments button', { hasText: 'In trouble' }).click();
  await page.waitForTimeout(200);
  await page.locator('.segments button', { hasText: 'All' }).click();
  await page.fill('[data-search]', plan.site);
  await page.locator('tbody a', { hasText: plan.site }).first().click();
  await settle(page);
  await page.waitForTimeout(500);
  check('destination: limits', await page.locator('td, th', { hasText: 'connections' }).count() > 0, 'limits and why are not shown');
  await page.getByRole('button', { name: 'Suspend' }).click();
  await dialogOf(page).getByLabel('For').fill('15m');
  await dialogOf(page).getByLabel('Reason').fill('they asked us to wait');
  await judge(page, 'suspend dialog');
  await submitDialog(page, 'suspend');
  await toastSays(page, /in force for 15m/, 'suspend');
  await page.waitForSelector('.page-actions button:has-text("Resume")', { timeout: PATIENCE }).catch(() => fault('destination', 'no way to resume'));
  await shoot(page, 'destination-suspended');
  await page.locator('.page-actions').getByRole('button', { name: 'Resume' }).click();
  await submitDialog(page, 'resume');
  await toastSays(page, /lifted/, 'resume');

  await visit(page, '#/rules');
  await page.getByRole('button', { name: 'New rule' }).click();
  await dialogOf(page).getByLabel('What', { exact: true }).selectOption('hold');
  await dialogOf(page).getByLabel('Which mail').fill('sender ~ "@news." and size > 5M');
  await dialogOf(page).getByLabel('Reason').fill('to be looked at');
  await submitDialog(page, 'rule');
  await toastSays(page, /in force/, 'rule');
  await page.waitForSelector('tbody td', { timeout: PATIENCE });
  check('rules', await page.locator('tbody tr').count() >= 1, 'the rule is not listed');
  await shoot(page, 'rules');
}

async function walkPlugins(page) {
  const name = plan.trial;
  await visit(page, `#/plugins/${name}`);
  await page.waitForSelector('.difference', { timeout: PATIENCE }).catch(() => fault('plugin', 'no difference of the shadow'));
  check('plugin: cost', await page.locator('td', { hasText: /µs|ms/ }).count() > 0, 'latency by hook is missing');
  await shoot(page, 'trial', { fullPage: false });
  await page.getByRole('button', { name: 'Record', exact: false }).first().click();
  await dialogOf(page).getByLabel('Calls').fill('5');
  await submitDialog(page, 'record');
  await toastSays(page, /Recording to/, 'record');
  await page.getByRole('button', { name: 'Stop recording' }).click();
  await toastSays(page, /recorded/, 'stop recording');
  await page.getByRole('button', { name: 'Drop' }).click();
  await submitDialog(page, 'drop');
  await toastSays(page, /Generation/, 'drop');
  await page.getByRole('button', { name: 'Try…', exact: true }).waitFor({ timeout: PATIENCE }).catch(() => fault('plugin', 'the candidate was not dropped'));
  await page.getByRole('button', { name: 'Try…', exact: true }).click();
  await dialogOf(page).getByLabel('Component').fill('not/from/the/root.wasm');
  refusals += 1;
  await dialogOf(page).locator('button[type=submit]').click();
  await dialogOf(page).locator('.trouble').waitFor({ timeout: PATIENCE }).catch(() => fault('try', 'a path that is none is not refused'));
  await judge(page, 'refused try');
  refusals = 0;
  await dialogOf(page).getByLabel('Component').fill(plan.component);
  await dialogOf(page).getByLabel('As', { exact: true }).selectOption('canary');
  await dialogOf(page).getByLabel('Of a hundred sessions').fill('20');
  if (plan.settings) await dialogOf(page).getByLabel('Settings').fill(plan.settings);
  await submitDialog(page, 'try');
  await toastSays(page, /has a candidate/, 'try');
  await page.waitForFunction(() => /canary 20 %/.test(document.querySelector('.page').textContent), null, { timeout: PATIENCE }).catch(() => fault('plugin', 'no canary'));
  await page.getByRole('button', { name: 'Promote' }).click();
  await submitDialog(page, 'promote');
  await toastSays(page, /Generation/, 'promote');
  await visit(page, '#/plugins');
  await page.locator('.page-actions').getByRole('button', { name: 'Roll back' }).click();
  await judge(page, 'roll-back dialog');
  await submitDialog(page, 'roll back');
  await toastSays(page, /Generation/, 'roll back');
  await page.waitForFunction(() => /roll-back/.test(document.querySelector('.page').textContent), null, { timeout: PATIENCE }).catch(() => fault('plugins', 'the roll-back is not on record'));
  await shoot(page, 'plugins');
}

async function walkDecisions(page) {
  await visit(page, '#/decisions');
  await page.getByLabel('Plugin', { exact: true }).fill(plan.trial);
  await page.getByLabel('Hook').selectOption('message');
  await page.getByRole('button', { name: 'Show' }).click();
  await settle(page);
  check('decisions', await page.locator('.decision').count() > 0, 'none by plugin and hook');
  check('decisions: of that plugin', (await page.locator('.decision a').allInnerTexts()).every((text) => text === plan.trial), '');
  const id = await firstId(page, plan.dead);
  await visit(page, `#/decisions?about=${id}`);
  check('decisions by id', await page.locator('.decision').count() > 0, id);
  await visit(page, `#/decisions?about=${plan.client}`);
  check('decisions by address', await page.locator('.decision').count() > 0, plan.client);
}

async function walkLive(page) {
  await visit(page, '#/live');
  await page.waitForSelector('.event .link', { timeout: PATIENCE }).catch(() => fault('live', 'no event'));
  await page.keyboard.press('p');
  await page.waitForTimeout(400);
  const before = await page.locator('.event').first().innerText();
  await page.waitForTimeout(1500);
  check('live: pause', before === await page.locator('.event').first().innerText(), 'events come though paused');
  await page.keyboard.press('p');
  await page.locator('.event .link').first().click();
  await page.waitForSelector('.trace li', { timeout: PATIENCE }).catch(() => fault('live', 'no trace'));
  await page.waitForTimeout(1500);
  await judge(page, 'trace');
  await shoot(page, 'live');
  await page.getByLabel('Client').fill('203.0.113.99');
  await page.getByRole('button', { name: 'Watch' }).click();
  await page.waitForTimeout(2000);
  check('live: by client', await page.locator('.event').count() === 0, 'events of other clients are shown');
}

async function walkLists(page) {
  await visit(page, '#/suppression');
  await page.getByRole('button', { name: 'Add' }).click();
  await dialogOf(page).getByLabel('Address or domain').fill('stop@example.org');
  await dialogOf(page).getByLabel('Reason').fill('asked us to stop');
  await submitDialog(page, 'suppress');
  await toastSays(page, /Nothing is sent/, 'suppress');
  await page.getByRole('button', { name: 'Remove stop@example.org' }).click();
  await submitDialog(page, 'unsuppress');
  await toastSays(page, /sent to stop@example.org again/, 'unsuppress');
  await visit(page, '#/bans');
  await page.getByRole('button', { name: 'Ban…', exact: true }).click();
  await dialogOf(page).getByLabel('Address or network').fill('203.0.113.9');
  await submitDialog(page, 'ban');
  await toastSays(page, /not served/, 'ban');
  await page.getByRole('button', { name: 'Lift the ban of 203.0.113.9/32' }).click();
  await submitDialog(page, 'lift');
  await toastSays(page, /served again/, 'lift');
  await visit(page, '#/audit');
  check('audit', await page.locator('tbody tr').count() > 3, 'what was done is not on record');
  await visit(page, '#/history');
  check('history', await page.locator('tbody tr').count() > 0, 'nothing has left the queue');
  await page.locator('tbody a').first().click();
  await settle(page);
  check('history of one', await page.locator('.facts').count() > 0, '');
  await visit(page, '#/overview');
  await page.getByRole('button', { name: 'Reload' }).click();
  await submitDialog(page, 'reload');
  await toastSays(page, /Generation \d+ serves/, 'reload');
}

async function walkRoles(browser) {
  const page = await open(browser, 'light', 'desktop');
  await login(page, plan.tokens.read);
  await visit(page, '#/queue');
  check('read: no commands', await page.locator('.bulk:visible').count() === 0, '');
  const id = await firstId(page, plan.dead);
  await visit(page, `#/messages/${id}`);
  check('read: no content', await page.getByRole('button', { name: 'Show content' }).count() === 0, '');
  await visit(page, '#/plugins');
  check('read: no roll-back', await page.getByRole('button', { name: 'Roll back' }).count() === 0, '');
  refusals += 1;
  const status = await page.evaluate(() => fetch('/api/v1/queue/command', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{"filter":{},"all":true,"command":"remove"}' }).then((answer) => answer.status));
  check('read: the relay refuses', status === 403, String(status));
  refusals = 0;
  await page.locator('.rail').getByRole('button', { name: 'Log out' }).click();
  await page.waitForSelector('#token');
  await judge(page, 'login');
  refusals += 1;
  await page.fill('#token', 'not-a-token');
  await page.click('button[type=submit]');
  await page.waitForSelector('.trouble');
  await judge(page, 'refused login');
  refusals = 0;
  await page.context().close();
}

async function main() {
  const browser = await chromium.launch({ executablePath: plan.chromium, args: FLAGS });
  try {
    const page = await open(browser, 'light', 'desktop');
    await page.goto(`${plan.base}/console/`);
    await page.waitForSelector('#token');
    await judge(page, 'login');
    await shoot(page, 'login');
    await login(page, plan.tokens.admin);
    for (const walk of [walkOverview, walkKeyboard]) await walk(page).catch((error) => fault(walk.name, error.message));
    for (const [scheme, size] of [['light', 'desktop'], ['dark', 'desktop'], ['light', 'phone'], ['dark', 'phone']]) {
      const other = scheme === 'light' && size === 'desktop' ? page : await open(browser, scheme, size);
      if (other !== page) await login(other, plan.tokens.admin);
      await views(other, `${scheme} ${size}`).catch((error) => fault('views', `${scheme} ${size}: ${error.message}`));
      if (other !== page) await other.context().close();
    }
    for (const walk of [walkLive, walkQueue, walkMessage, walkDestinations, walkDecisions, walkPlugins, walkLists]) {
      await walk(page).catch((error) => fault(walk.name, error.message));
    }
    await walkRoles(browser).catch((error) => fault('walkRoles', error.message));
  } finally {
    await browser.close();
  }
  console.log(JSON.stringify({ done: true, wrong: wrong.length }));
  process.exit(wrong.length ? 1 : 0);
}

main().catch((error) => {
  fault('the walk ended early', error.stack);
  process.exit(1);
});
