/** What a dry run looked at, and what is wrong with it. */
export class Checks {
  readonly wrong: string[] = [];

  /** Prints what holds, or prints and keeps what does not. */
  that(holds: boolean, what: string, otherwise: string): void {
    console.log(`${holds ? 'ok  ' : 'FAIL'} ${holds ? what : otherwise}`);
    if (!holds) this.wrong.push(otherwise);
  }
}
