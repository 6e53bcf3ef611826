// Loaded last: every view is there.
"use strict";

affect.start();
