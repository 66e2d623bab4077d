/** The body of a request: held where it is small, so that it can be sent again, and passed on as it comes otherwise. */

export class Body {
  readonly #held: ArrayBuffer | undefined;
  readonly #stream: ReadableStream<Uint8Array> | undefined;
  readonly #length: number | undefined;
  #taken = false;
  /** Ends when a body that is passed on has wholly been sent. */
  sent: Promise<void> | undefined;

  private constructor(held?: ArrayBuffer, stream?: ReadableStream<Uint8Array>, length?: number) {
    this.#held = held;
    this.#stream = stream;
    this.#length = length;
  }

  /** The body of `request`; held when it says that it has at most `most` bytes. */
  static async of(request: Request, most: number): Promise<Body> {
    // Workers send no body with GET and HEAD.
    if (request.body === null || request.method === "GET" || request.method === "HEAD") return new Body();
    const said = request.headers.get("content-length");
    const length = said === null ? undefined : Number(said);
    if (length != null && length <= most) return new Body(await request.arrayBuffer());
    return new Body(undefined, request.body, length);
  }

  get isEmpty(): boolean {
    return this.#stream == null && (this.#held == null || this.#held.byteLength === 0);
  }

  /** Whether it can (still) be sent from its beginning. */
  get isWhole(): boolean {
    return this.#stream == null || !this.#taken;
  }

  /** The body for one try. */
  take(): BodyInit | undefined {
    if (this.#stream == null) return this.#held;
    this.#taken = true;
    const through =
      this.#length == null ? new IdentityTransformStream() : new FixedLengthStream(this.#length);
    this.sent = this.#stream.pipeTo(through.writable);
    // Whoever waits for it asks; a body that breaks off otherwise shows as a failed try.
    this.sent.catch(() => {});
    return through.readable;
  }
}
