// In a page of the server: registers the id of the first argument on a connection of its own, asks for the role of the
// second in one room, and gives what comes of that. The page keeps what each connection has heard.
const [peerId, role] = arguments;
const heard = [];
(window.connections ??= []).push(heard);
const socket = new WebSocket(location.origin.replace('http', 'ws'));
socket.onclose = ({ code }) => heard.push(`close ${code}`);
return new Promise((resolve) => {
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    heard.push(message.type);
    if (message.type === 'welcome') socket.send(JSON.stringify({ type: 'register', peerId }));
    else if (message.type === 'registered') {
      socket.send(JSON.stringify({ type: 'create-or-join-room', roomId: 'show', role }));
    } else if (/^(room-|error)/.test(message.type)) resolve(`${message.type} ${message.role ?? message.message}`);
  };
});
