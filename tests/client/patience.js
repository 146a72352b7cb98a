/** For vi.waitFor: its own second is not enough beside other tests. */
export const PATIENTLY = { timeout: 20_000 };
