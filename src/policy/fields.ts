/** Header fields as policies read and change them. The names are lower case. */

/** To be read. */
export interface FieldSource {
  get(name: string): string | undefined;
  getAll(name: string): string[];
  has(name: string): boolean;
}

/** To be changed. */
export interface FieldTarget extends FieldSource {
  add(name: string, value: string): void;
  set(name: string, value: string): void;
  remove(name: string): void;
}

/** A request's head. */
export interface RequestFields {
  method: string;
  path: string;
  authority: string;
  scheme: string;
  readonly headers: FieldTarget;
}
