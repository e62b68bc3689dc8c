// In a page of the server: goes on air as the studio does, with a tone of 440 Hz from a bus of its own, a piece a second,
// for as many pieces as the second argument says; then it stops, or goes on where the third one is true. Gives what it has
// heard. The first argument is the peer's id.
const [peerId, pieces, goesOn] = arguments;
return (async () => {
  const context = new AudioContext({ sampleRate: 48000 });
  await context.resume();
  const bus = new MediaStreamAudioDestinationNode(context, { channelCount: 2 });
  const tone = new OscillatorNode(context, { frequency: 440 });
  tone.connect(bus);
  tone.start();
  const recorder = new MediaRecorder(bus.stream, { mimeType: 'audio/webm;codecs=opus', audioBitsPerSecond: 128000 });
  const heard = [];
  const socket = new WebSocket(location.origin.replace('http', 'ws'));
  const send = (message) => socket.send(JSON.stringify(message));
  let sent = 0;
  let done;
  recorder.ondataavailable = async ({ data }) => {
    const bytes = new Uint8Array(await data.arrayBuffer());
    send({ type: 'stream-chunk', chunk: btoa(String.fromCharCode(...bytes)) });
    sent += 1;
    if (sent !== pieces) return;
    if (goesOn) return done(heard);
    recorder.stop();
    send({ type: 'stop-stream' });
  };
  return new Promise((resolve) => {
    done = resolve;
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      heard.push(message.type);
      if (message.type === 'welcome') send({ type: 'register', peerId });
      else if (message.type === 'registered') send({ type: 'create-or-join-room', roomId: 'show', role: 'host' });
      else if (message.type.startsWith('room-')) send({ type: 'start-stream' });
      else if (message.type === 'stream-started') recorder.start(1000);
      else if (message.type === 'stream-stopped' || message.type === 'error') resolve(heard);
    };
  });
})();
