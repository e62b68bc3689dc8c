// In a page of the server: plays the programme, as a listener's page does. Resolves when it plays. What came of it until
// then, window.heard() says: the events, how much was played, and how much less that is than the time that has gone by.
const [url] = arguments;
const audio = new Audio(url);
window.audio = audio;
const events = [];
for (const name of ['playing', 'waiting', 'ended', 'error']) audio.addEventListener(name, () => events.push(name));
return new Promise((resolve, reject) => {
  audio.addEventListener('playing', () => {
    const [begun, from] = [performance.now(), audio.currentTime];
    window.heard = () => {
      const played = audio.currentTime - from;
      return { events, played, stalled: (performance.now() - begun) / 1000 - played };
    };
    resolve(true);
  }, { once: true });
  audio.addEventListener('error', () => reject(new Error(`it does not play: ${audio.error?.message}`)));
  audio.play().catch(reject);
});
