// The types of what the check page holds, for TypeScript's look at its script. The page names them in comments, and
// does not carry them.

type Cause = "gone" | "stopping" | "behind" | "upgrade" | "origin" | "crowded";
type Level = "good" | "fair" | "bad" | "busy";
type StepName = "websocket" | "register" | "join" | "offer" | "answer" | "candidate" | "connected" | "talk";
type MicState = "off" | "ended" | "insecure" | "none" | "denied" | "busy";

/** The connection that is opened again for as long as the page is. Times are those of performance.now(), in ms. */
interface Link {
    state: "connecting" | "open" | "lost";
    since: Date;
    tries: number;
    /** Whether it was ever open. */
    worked: boolean;
    /** Round trips in ms, and null where it was lost in between. */
    rounds: (number | null)[];
    cause?: Cause | null;
    /** The close code of the last try. */
    code?: number;
    /** When the next try is; none where it is under way. */
    next?: number | null;
}

/** Everything that is tried once the connection is there. */
interface Run {
    call: "waiting" | "running" | "done" | "failed";
    steps: Steps;
    error: Failure | null;
    route: string | null;
    servers: Tried[] | null;
    /** Whether all of it has ended. */
    tried: boolean;
}

/** When steps began and ended, in ms since the first one began. */
type Steps = Partial<Record<StepName, { from: number; to?: number }>>;

/** Why a step failed: the code is one of the server's, a close code, or one of the page's own. */
type Failure = Error & { code?: string | number };

/** A STUN or TURN server, and what came of it. */
interface Tried {
    kind: "STUN" | "TURN";
    url: string;
    username?: string;
    credential?: string;
    result?: "found" | "same" | "refused" | "denied" | "silent" | "bare" | "unusable";
    /** In ms. */
    took?: number;
    error?: string;
}

/** Whether Icecast would take a programme, as /check/icecast has it. */
interface Air {
    mount: "free" | "on-air" | "unusable";
    problem?: string;
    fix?: string;
}

/** The manifest, as /api/station has it. */
interface Station {
    stationId: string;
    name: string;
    signaling: { url: string };
    /** The address that apps are told. */
    told?: URL;
}

/** What the server says of ICE servers. */
interface Ice {
    stun?: string[];
    turn?: { urls: string | string[]; username?: string; credential?: string }[];
}

type Mic =
    | { state: MicState; stream?: undefined; context?: undefined }
    | {
        state: "on";
        stream: MediaStream;
        context: AudioContext;
        analyser: AnalyserNode;
        samples: Float32Array<ArrayBuffer>;
        heard: boolean;
        since: number;
    };

/** What is wrong, and what to do for it. */
interface Problem {
    level: Level;
    title: string;
    advice: string;
}

/** Whatever the server sends. */
interface Message {
    type: string;
    [field: string]: any;
}

interface HtmlAndSvg extends HTMLElementTagNameMap, Pick<SVGElementTagNameMap, "svg"> {}

// The DOM makes a string of whatever it is given, and each table of the page has a body.
interface Element {
    setAttribute(name: string, value: string | number | boolean): void;
}
interface ParentNode {
    querySelector(selectors: "tbody"): HTMLTableSectionElement;
}
// The objects that the page looks through have no keys but those of their types.
interface ObjectConstructor {
    keys<Key extends string>(object: Record<Key, unknown>): Key[];
    entries<Key extends string, Value>(object: Record<Key, Value>): [Key, Value][];
}
