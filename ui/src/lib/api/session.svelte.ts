// Whether this browser may talk to the server. The window is always signed in.

class Session {
  /** The last command was refused because of the access token. */
  signedOut = $state(false);
}

export const session = new Session();
