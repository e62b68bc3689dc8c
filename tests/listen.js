// In a page of the server: plays the programme, as a listener's page does. Resolves when it plays. What came of it until
// then, window.heard() says: the events, and how much was played, in seconds.
const [url] = arguments;
const audio = new Audio(url);
window.audio = audio;
const events = [];
for (const name of ['playing', 'waiting', 'ended', 'error']) audio.addEventListener(name, () => events.push(name));
return new Promise((resolve, reject) => {
  audio.addEventListener('playing', () => {
    const from = audio.currentTime;
    window.heard = () => ({ events, played: audio.currentTime - from });
    resolve(true);
  }, { once: true });
  audio.addEventListener('error', () => reject(new Error(`it does not play: ${audio.error?.message}`)));
  audio.play().catch(reject);
});
