// Lets scripts of this folder import npm's packages by their names, though these lie in .clients/node.
import { registerHooks } from "node:module";

const PACKAGES = new URL("../../.clients/node/", import.meta.url).href;

registerHooks({
  resolve(specifier, context, next) {
    const bare = /^[a-z@]/.test(specifier) && !/^[a-z]+:/.test(specifier);
    const outside = !context.parentURL?.startsWith(PACKAGES);
    return next(specifier, bare && outside ? { ...context, parentURL: PACKAGES } : context);
  },
});
