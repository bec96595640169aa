// What the serial console and the screen share: a ticket by POST, then a WebSocket whose first message is the
// ticket. Text frames are the portal's, binary frames the machine's. `on.opened` gets the socket, `on.bytes` what
// arrives, `on.closed` is called at its end.
window.mwLine = (place, on) => {
  "use strict";
  const words = place.dataset;
  const form = place.querySelector("[data-console-form]");
  const connect = place.querySelector("[data-connect]");
  const leave = place.querySelector("[data-leave]");
  const state = place.querySelector("[data-state]");
  let socket = null;

  const say = (text, bad = false) => {
    state.textContent = text;
    state.classList.toggle("text-danger", bad);
  };

  const show = (open) => {
    connect.hidden = open;
    for (const each of place.querySelectorAll("[data-while-open]")) each.hidden = !open;
  };

  const ticket = async () => {
    const answer = await fetch(words.ask, { method: "POST", headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": form.querySelector("[name=csrfmiddlewaretoken]").value }, body: "{}" });
    const body = await answer.json();
    if (answer.ok) return body.ticket;
    throw new Error((body.errors || []).map((row) => row.message).join(" ") || body.detail || body.title);
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    connect.disabled = true;
    say(words.connecting);
    let secret;
    try {
      await (on.ready ? on.ready() : null);
      secret = await ticket();
    } catch (error) {
      say(error instanceof TypeError ? words.broken : error.message, true);
      connect.disabled = false;
      return;
    }
    let told = "";
    const address = new URL(words.live, window.location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const mine = new WebSocket(address);
    socket = mine;
    mine.binaryType = "arraybuffer";
    mine.addEventListener("open", () => mine.send(JSON.stringify({ ticket: secret })));
    mine.addEventListener("message", (message) => {
      if (typeof message.data !== "string") {
        if (on.bytes) on.bytes(new Uint8Array(message.data));
        return;
      }
      const body = JSON.parse(message.data);
      if (body.error) {
        told = body.error;
        return;
      }
      say(words.open);
      show(true);
      on.opened(mine);
    });
    mine.addEventListener("close", (end) => {
      const reason = words[`end${end.reason.charAt(0).toUpperCase()}${end.reason.slice(1)}`];
      say([reason || words.broken, told].filter(Boolean).join(" "), end.reason !== "left");
      socket = null;
      connect.disabled = false;
      show(false);
      if (on.closed) on.closed();
      connect.focus();
    });
  });
  leave.addEventListener("click", () => {
    if (socket) socket.close(1000, "left");
  });

  // Tab belongs to the machine, so there must be another way out for whoever has only a keyboard.
  const out = (event) => {
    if (!(event.ctrlKey && event.shiftKey && event.key === "Escape")) return false;
    if (event.type === "keydown") (leave.hidden ? connect : leave).focus();
    return true;
  };
  return { out, say, socket: () => socket };
};
