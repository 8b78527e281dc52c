// The one WebSocket of the page: it connects, keeps itself alive and comes back by itself. See docs/protocol.md.
import { doubling, jittered } from "./backoff.js";

const SIGNED_OUT = 4001;
const FLOOD = 4008;
const TOO_SLOW = 4009;
const LIMITED = 4029;
const RESTART = 1012;

const FIRST_DELAY = 500; // ms; doubles with each failure
const LONGEST_DELAY = 30_000;
const FLOOD_DELAY = 15_000;
const LIMITED_DELAY = 10_000; // where the server did not say
const HELLO_WITHIN = 15_000; // of asking for a connection, and again of getting one
const PING_EVERY = 25_000; // below the 60 s after which proxies cut a silent connection
const PONG_WITHIN = 8_000;
const OURS = 4000; // codes from here on concern this socket alone, not everybody's (RFC 6455, section 7.4)
const SOON = 2_000; // where something says that the connection may be gone

const STATES = { [RESTART]: "restarting", [LIMITED]: "limited" };

export class Socket {
  #socket = null;
  #failures = 0;
  #timer = 0;
  #greeting = 0;
  #ping = 0;
  #pong = 0;
  #spread = 0; // ms in which this server's clients come back if it loses them all; what the last pong said
  #limitedFor = 0; // ms; what the server last said of how long to stay away

  /** `onFrame(frame)` gets every frame; `onState` one of "connecting", "open", "offline", "restarting", "limited", "ended". */
  constructor({ onFrame, onState }) {
    this.onFrame = onFrame;
    this.onState = onState;
    this.state = "connecting";
    addEventListener("online", () => this.connectNow());
    // A laptop that wakes up or changes network learns sooner by asking than by waiting for the next ping.
    addEventListener("offline", () => this.#check(SOON));
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.connectNow());
  }

  get isOpen() {
    return this.state === "open";
  }

  /** Whether the frame went out; what did not must be sent again after the next "open". */
  send(frame) {
    if (!this.isOpen || this.#socket.readyState !== WebSocket.OPEN) {
      return false;
    }
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  /** Connect at once, whatever the back-off says. */
  connectNow() {
    if (this.isOpen) {
      this.#check(SOON);
    } else if (this.state !== "ended" && this.state !== "limited" && this.#socket?.readyState !== WebSocket.CONNECTING) {
      this.#drop();
      this.connect();
    }
  }

  connect() {
    clearTimeout(this.#timer);
    const address = new URL("/ws/", location.href);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address);
    this.#socket = socket;
    this.#awaitHello();
    socket.onopen = () => this.#awaitHello();
    socket.onmessage = (event) => this.#receive(JSON.parse(event.data));
    socket.onclose = (event) => this.#closed(event.code);
  }

  #receive(frame) {
    clearTimeout(this.#pong);
    if (frame.type === "hello") {
      clearTimeout(this.#greeting);
      this.#failures = 0;
      this.#keepAlive();
      this.#become("open");
    }
    if (frame.type === "pong") {
      this.#spread = frame.spread * 1000;
    }
    if (frame.code === "limited" && !this.isOpen) {
      this.#limitedFor = (frame.retry_after ?? 0) * 1000;
    }
    this.onFrame(frame);
  }

  #become(state) {
    this.state = state;
    this.onState(state);
  }

  #keepAlive() {
    clearInterval(this.#ping);
    this.#ping = setInterval(() => this.#check(PONG_WITHIN), PING_EVERY);
  }

  // A dead connection can look open for minutes: what does not answer in time is given up.
  #check(within) {
    if (!this.send({ type: "ping" })) {
      return;
    }
    clearTimeout(this.#pong);
    this.#pong = setTimeout(() => this.#giveUp(), within);
  }

  // Something may take the connection and never speak: a proxy without its server, a server that hangs.
  #awaitHello() {
    clearTimeout(this.#greeting);
    this.#greeting = setTimeout(() => this.#giveUp(), HELLO_WITHIN);
  }

  #giveUp() {
    this.#drop();
    this.#closed(1006);
  }

  #drop() {
    if (this.#socket) {
      this.#socket.onopen = this.#socket.onclose = this.#socket.onmessage = null;
      this.#socket.close();
    }
  }

  #closed(code) {
    clearTimeout(this.#greeting);
    clearInterval(this.#ping);
    clearTimeout(this.#pong);
    if (code === SIGNED_OUT) {
      this.#become("ended");
      return;
    }
    this.#failures += 1;
    this.#become(STATES[code] ?? (this.#failures === 1 ? "connecting" : "offline"));
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.connect(), this.#apart(code) + jittered(this.#delay(code)));
  }

  // Whoever lost a server lost it together with thousands of others: the first time, each comes at a moment of its own.
  #apart(code) {
    return this.#failures === 1 && code < OURS ? Math.random() * this.#spread : 0;
  }

  #delay(code) {
    if (code === FLOOD) {
      return FLOOD_DELAY;
    }
    if (code === LIMITED) {
      return 2 * (this.#limitedFor || LIMITED_DELAY); // of which half is certain, and no crowd comes back at once
    }
    if (code === TOO_SLOW) {
      return FIRST_DELAY;
    }
    return doubling(this.#failures, FIRST_DELAY, LONGEST_DELAY);
  }
}
