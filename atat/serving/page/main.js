// The page of a service: the app, with the server as what understands.

import { start } from "./app.js";
import { Server } from "./server.js";

start(new Server(location.origin));
