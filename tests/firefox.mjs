// Tries the check page in Firefox: everything works there, too.
//
//   node tests/firefox.mjs SERVER ADDRESS
//
// SERVER is the binary, ADDRESS one of this machine that is not of its loopback, where Firefox asks no STUN or TURN.
// Ports are fixed, and what is started here is left running: tests/run gives it a network and processes of its own,
// and ends those. Firefox is spoken to as geckodriver does, which Debian 12 does not have. Deliberately does not know
// what the page says when something is wrong: the tests in Chromium do.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

const [server, address] = process.argv.slice(2);
const scratch = mkdtempSync(join(tmpdir(), 'firefox-'));
const SECRET = 'a secret that both of them know';
// Without a sound card, Firefox neither plays nor records.
const speaker = `unix:${join(scratch, 'speaker')}`;

/**
 * Starts a program, and waits for the line that it has when it is ready.
 *
 * @param {string} command
 * @param {string[]} args
 * @param {Record<string, string>} environment
 * @param {string} ready
 * @returns {Promise<string>}
 */
function start(command, args, environment, ready) {
  const env = { PATH: process.env.PATH, HOME: scratch, TMPDIR: scratch, ...environment };
  const child = spawn(command, args, { cwd: scratch, env, stdio: ['ignore', 'pipe', 'pipe'] });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code, signal) => reject(new Error(`${command} ended: ${code ?? signal}`)));
    for (const output of [child.stdout, child.stderr]) {
      createInterface(output).on('line', (line) => {
        console.log(`${command.split('/').pop()}: ${line}`);
        if (line.includes(ready)) resolve(line);
      });
    }
  });
}

// Firefox by its Marionette protocol: each message is JSON with its length in front, and an answer has the number of
// its command.
class Firefox {
  /** @type {import('node:net').Socket} */
  #socket;
  /** @type {Buffer} */
  #heard = Buffer.alloc(0);
  /** @type {Map<number, { resolve: (result: any) => void, reject: (error: Error) => void }>} */
  #waiting = new Map();
  #number = 0;

  /** @param {Record<string, unknown>} preferences */
  static async start(preferences) {
    const lines = Object.entries(preferences).map(([name, value]) => `user_pref("${name}", ${value});\n`);
    writeFileSync(join(scratch, 'user.js'), lines.join(''));
    // What it takes of TLS is bounded while it runs.
    const command = ['--headless', '--marionette', '--remote-allow-system-access', '--profile', scratch];
    const line = await start('firefox-esr', command, { PULSE_SERVER: speaker }, 'Listening on port ');
    const firefox = new Firefox();
    firefox.#socket = connect(Number(line.split(' ').pop()), '127.0.0.1');
    firefox.#socket.on('data', (data) => firefox.#hear(data));
    // No authority has issued the certificate.
    await firefox.tell('WebDriver:NewSession', { acceptInsecureCerts: true });
    return firefox;
  }

  /** @param {string} command @param {object} parameters @returns {Promise<any>} */
  tell(command, parameters) {
    this.#number += 1;
    const message = JSON.stringify([0, this.#number, command, parameters]);
    this.#socket.write(`${Buffer.byteLength(message)}:${message}`);
    return new Promise((resolve, reject) => this.#waiting.set(this.#number, { resolve, reject }));
  }

  /** @param {Buffer} data */
  #hear(data) {
    this.#heard = Buffer.concat([this.#heard, data]);
    for (;;) {
      const colon = this.#heard.indexOf(':');
      const end = colon + 1 + Number(this.#heard.toString('utf8', 0, colon));
      if (colon < 0 || this.#heard.length < end) return;
      const message = JSON.parse(this.#heard.toString('utf8', colon + 1, end));
      this.#heard = this.#heard.subarray(end);
      // The first message only says who is there.
      if (!Array.isArray(message)) continue;
      const [, number, error, result] = message;
      const asked = this.#waiting.get(number);
      if (error) asked?.reject(new Error(`${error.error}: ${error.message}`));
      else asked?.resolve(result);
    }
  }

  /** @param {string} script @param {unknown[]} args */
  async run(script, ...args) {
    return (await this.tell('WebDriver:ExecuteScript', { script, args })).value;
  }

  /** @param {string} id @returns {Promise<string>} */
  text(id) {
    return this.run('return document.getElementById(arguments[0]).innerText', id);
  }

  /**
   * Waits until an element has this text in it, for longer than the page waits for anything.
   *
   * @param {string} id
   * @param {string} text
   */
  async waitFor(id, text) {
    let now;
    for (let tries = 0; tries < 300; tries += 1) {
      now = await this.text(id);
      if (now.includes(text)) return;
      await sleep(100);
    }
    throw new Error(`no “${text}” in #${id}: ${now}`);
  }

  /** @param {string} id */
  async click(id) {
    const { value } = await this.tell('WebDriver:FindElement', { using: 'css selector', value: `#${id}` });
    await this.tell('WebDriver:ElementClick', { id: Object.values(value)[0] });
  }
}

const manifest = join(scratch, 'station-manifest.json');
writeFileSync(manifest, JSON.stringify({
  stationId: 'north',
  name: 'Radio North',
  signaling: { url: 'ws://localhost:3000/' },
  ice: { stun: [`stun:${address}`], turn: [{ urls: [`turn:${address}`] }] },
}));
const web = join(scratch, 'web');
mkdirSync(web);
writeFileSync(join(web, 'index.html'), '<!doctype html><title>A studio</title>');
writeFileSync(join(web, 'large'), 'x'.repeat(3_000_000));
const [cert, key] = ['cert', 'key'].map((name) => join(scratch, name));
execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
  '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', cert], { stdio: 'ignore' });
// Icecast gives up root, and takes its scratch directory with it; its burst is Debian's.
const icecast = join(scratch, 'icecast.xml');
writeFileSync(icecast, `<icecast><limits><burst-size>65535</burst-size></limits>
  <authentication><source-password>${SECRET}</source-password><admin-user>admin</admin-user>
  <admin-password>x</admin-password></authentication><hostname>localhost</hostname>
  <listen-socket><port>8000</port><bind-address>127.0.0.1</bind-address></listen-socket>
  <paths><basedir>${scratch}</basedir><logdir>${scratch}</logdir><webroot>/usr/share/icecast2/web</webroot>
  <adminroot>/usr/share/icecast2/admin</adminroot></paths><logging><errorlog>-</errorlog><accesslog>-</accesslog>
  <loglevel>3</loglevel></logging>
  <security><changeowner><user>nobody</user><group>nogroup</group></changeowner></security></icecast>`);
await Promise.all([
  start('turnserver', ['-n', '--no-tls', '--no-dtls', '--no-cli', '--log-file=stdout', '--simple-log', '--verbose',
    `--listening-ip=${address}`, `--relay-ip=${address}`, `--userdb=${join(scratch, 'coturn.db')}`,
    `--pidfile=${join(scratch, 'coturn.pid')}`, '--realm=studio.example', '--use-auth-secret',
    `--static-auth-secret=${SECRET}`], {}, `UDP listener opened on: ${address}:3478`),
  start('pulseaudio', ['-n', '-v', '--daemonize=no', '--exit-idle-time=-1', '--use-pid-file=no', '--log-target=stderr',
    '--load=module-null-sink', `--load=module-native-protocol-unix auth-anonymous=1 socket=${speaker.slice(5)}`],
  { XDG_RUNTIME_DIR: scratch }, 'Daemon startup complete'),
  start('icecast2', ['-c', icecast], {}, 'server started'),
  start(server, [], {
    STATION_MANIFEST: manifest, TURN_SECRET: SECRET, PORT: '3000', ON_AIR_ACCESS: 'open', WEB_ROOT: web,
    ICECAST_URL: 'http://127.0.0.1:8000/live.ogg', ICECAST_PASSWORD: SECRET,
  }, ' started: '),
  start(server, [], { TLS_CERT: cert, TLS_KEY: key, PORT: '3443', WEB_ROOT: web }, ' started: '),
]);
const firefox = await Firefox.start({
  'marionette.port': 0,
  // A microphone, and a user who lets the page have it.
  'media.navigator.streams.fake': true,
  'media.navigator.permission.disabled': true,
  // Nobody clicks before it plays.
  'media.autoplay.default': 0,
  'media.autoplay.block-webaudio': false,
});
await firefox.tell('WebDriver:Navigate', { url: 'http://localhost:3000/check' });

await firefox.waitFor('ice-state', ' work');
const verdict = await firefox.text('verdict');
assert(verdict.startsWith('Everything works.'), verdict);
assert.match(await firefox.text('call-state'), /^connected \(\w+ to \w+\)$/);
assert.equal(await firefox.run("return document.querySelectorAll('#steps rect').length"), 8);
const servers = await firefox.text('servers');
assert.match(servers, /server-reflexive candidate found[^]*relay candidate found/);

// With the microphone the call has its track, too.
await firefox.click('mic');
await firefox.waitFor('mic', 'Stop the microphone');
await firefox.run("document.getElementById('headline').textContent = ''");
await firefox.click('rerun');
await firefox.waitFor('headline', 'Everything works.');
await firefox.click('copy');
await firefox.waitFor('copied', 'Copied.');
// It keeps the cookie of a 101 answer: a second connection takes its place at once, and a page that is loaded again has
// another id and leads its room still.
const script = readFileSync(new URL('cookie.js', import.meta.url), 'utf8');
const [a, b, c] = ['aa', 'bb', 'cc'].map((end) => `f47ac10b-58cc-4372-a567-0e02b2c3d4${end}`);
assert.equal(await firefox.run(script, a, 'host'), 'room-created host');
assert.equal(await firefox.run(script, b, 'host'), 'room-joined guest');
assert.equal(await firefox.run(script, a, 'guest'), 'room-joined host');
assert.equal(await firefox.run('return connections[0].at(-1)'), 'close 4010');
await firefox.tell('WebDriver:Refresh', {});
assert.equal(await firefox.run(script, c, 'guest'), 'room-created host');
// What it records is heard, by itself in another tab, and there is no gap while the host's page is gone for 13 s.
const host = (await firefox.tell('WebDriver:GetWindowHandle', {})).value;
const listener = (await firefox.tell('WebDriver:NewWindow', { type: 'tab' })).handle;
/** @param {string} handle @param {string} url */
const open = async (handle, url) => {
  await firefox.tell('WebDriver:SwitchToWindow', { handle });
  await firefox.tell('WebDriver:Navigate', { url });
};
const [programme, listen] = ['programme.js', 'listen.js'].map((name) => readFileSync(new URL(name, import.meta.url), 'utf8'));
const page = 'http://localhost:3000/';
await open(host, page);
await firefox.run(programme, 'f47ac10b-58cc-4372-a567-0e02b2c3d4dd', 3, true);
await open(listener, page);
assert.equal(await firefox.run(listen, '/stream/live.opus'), true);
/** @param {number} seconds */
const played = async (seconds) => {
  await firefox.tell('WebDriver:SwitchToWindow', { handle: listener });
  for (let tries = 0; tries < 400; tries += 1) {
    const heard = await firefox.run('return heard()');
    if (heard.played >= seconds) return heard;
    await sleep(100);
  }
  throw new Error(`it does not go on: ${JSON.stringify(await firefox.run('return heard()'))}`);
};
await played(4);
await open(host, 'about:blank');
await played(17);
await open(host, page);
await firefox.run(programme, 'f47ac10b-58cc-4372-a567-0e02b2c3d4ee', 6, false);
const heard = await played(20);
assert.deepEqual(heard.events.slice(heard.events.indexOf('playing')), ['playing'], JSON.stringify(heard));
// Both versions of TLS carry what a page does.
const tls = readFileSync(new URL('tls.js', import.meta.url), 'utf8');
for (const { number, version } of [{ number: 3, version: 'TLSv1.2' }, { number: 4, version: 'TLSv1.3' }]) {
  await firefox.tell('Marionette:SetContext', { value: 'chrome' });
  await firefox.run("Services.prefs.setIntPref('security.tls.version.max', arguments[0])", number);
  await firefox.tell('Marionette:SetContext', { value: 'content' });
  await open(host, 'https://localhost:3443/');
  assert.equal(await firefox.run(tls), '20 3000000 welcome pong 1000', version);
}
console.log(`${JSON.stringify(heard)}\n${verdict}\n${servers}\n${await firefox.run('return navigator.userAgent')}`);
process.exit();
