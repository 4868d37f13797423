-- The database of cronwatch. The parts are applied in order, each in one transaction, and the number
-- of the last one is kept in PRAGMA user_version. A part that was released is never changed: what
-- comes later is a new part.
--
-- Instants (…_at, down_since, …_until) are milliseconds since 1970 UTC; other durations say their
-- unit. `num` is how rows name each other; `id` is how programs and people name them.

-- part 1

CREATE TABLE meta (                     -- what the server remembers of itself
    name  TEXT PRIMARY KEY,             -- alive_at: when it last stamped that it lived; base_url
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE monitor (
    num        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    key        TEXT NOT NULL UNIQUE CHECK (length(key) BETWEEN 1 AND 200),
    name       TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    tags       TEXT NOT NULL DEFAULT '',                -- separated by one space
    notes      TEXT NOT NULL DEFAULT '',
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    -- what is expected of it
    cron                          TEXT,
    interval_seconds              INTEGER CHECK (interval_seconds BETWEEN 1 AND 315360000),
    timezone                      TEXT NOT NULL DEFAULT 'UTC',
    grace_seconds                 INTEGER NOT NULL DEFAULT 300 CHECK (grace_seconds >= 0),
    expects                       TEXT NOT NULL DEFAULT 'run' CHECK (expects IN ('run', 'complete')),
    max_run_seconds               INTEGER CHECK (max_run_seconds > 0),
    failure_tolerance             INTEGER NOT NULL DEFAULT 0 CHECK (failure_tolerance >= 0),
    reminder_interval_seconds     INTEGER CHECK (reminder_interval_seconds > 0),
    min_ping_interval_seconds     INTEGER CHECK (min_ping_interval_seconds > 0),
    email_alerts                  INTEGER NOT NULL DEFAULT 1 CHECK (email_alerts IN (0, 1)),
    armed                         INTEGER NOT NULL DEFAULT 0 CHECK (armed IN (0, 1)),
    default_integrations          INTEGER NOT NULL DEFAULT 1 CHECK (default_integrations IN (0, 1)),
    rules                         TEXT,                 -- JSON list of {field, operator, value}
    declared                      TEXT,                 -- JSON: what a ping or a sync said last
    -- how it is doing
    status          TEXT NOT NULL DEFAULT 'new' CHECK (status IN ('new', 'up', 'down', 'paused')),
    down_reason     TEXT CHECK (down_reason IN ('missed', 'failed', 'stuck')),
    down_since      INTEGER,
    expected_at     INTEGER,                            -- the occurrence that is awaited
    counted_at      INTEGER,                            -- the instant it was counted from
    life_at         INTEGER,                            -- when the last sign of life began
    grace_at        INTEGER,                            -- no deadline lies before: grace was edited
    failures        INTEGER NOT NULL DEFAULT 0,         -- in a row
    failed_count    INTEGER NOT NULL DEFAULT 0,         -- since it is down
    missed_count    INTEGER NOT NULL DEFAULT 0,         -- since it is down
    reminded_at     INTEGER,
    pause_until     INTEGER,
    resume_status   TEXT CHECK (resume_status IN ('new', 'up', 'down')),
    digests         TEXT,                               -- JSON: events that are being collected
    limited_at      INTEGER,                            -- last ping the minimum interval counts from
    last_ping_at    INTEGER,
    dropped_pings   INTEGER NOT NULL DEFAULT 0,         -- refused for want of an auth_key
    due_at          INTEGER,                            -- next instant that changes it by itself
    CHECK (cron IS NULL OR interval_seconds IS NULL),
    CHECK ((status = 'paused') = (resume_status IS NOT NULL)),
    CHECK (status != 'down' OR (down_reason IS NOT NULL AND down_since IS NOT NULL))
) STRICT;
CREATE INDEX monitor_due ON monitor (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX monitor_expected ON monitor (expected_at) WHERE expected_at IS NOT NULL;
CREATE INDEX monitor_name ON monitor (name);

CREATE TABLE handle (                   -- secrets that ping one monitor
    text    TEXT PRIMARY KEY,
    monitor INTEGER NOT NULL REFERENCES monitor (num) ON DELETE CASCADE,
    kind    TEXT NOT NULL               -- token, code, or the dialect it was adopted from
) STRICT, WITHOUT ROWID;
CREATE INDEX handle_monitor ON handle (monitor);

CREATE TABLE ping (
    num         INTEGER PRIMARY KEY AUTOINCREMENT,
    monitor     INTEGER NOT NULL REFERENCES monitor (num) ON DELETE CASCADE,
    kind        TEXT NOT NULL CHECK (kind IN ('start', 'success', 'fail', 'ok', 'progress', 'log')),
    at          INTEGER NOT NULL,
    run         INTEGER,                -- run.num; not a reference: runs are pruned apart
    dialect     TEXT NOT NULL,
    series      TEXT,
    host        TEXT,
    env         TEXT,
    address     TEXT,
    user_agent  TEXT,
    message     TEXT,
    percent     INTEGER CHECK (percent BETWEEN 0 AND 100),
    duration_ms INTEGER,
    exit_code   INTEGER
) STRICT;
CREATE INDEX ping_monitor ON ping (monitor, at);
CREATE INDEX ping_progress ON ping (run) WHERE kind = 'progress';

CREATE TABLE run (
    num         INTEGER PRIMARY KEY,    -- that of the ping that opened it
    monitor     INTEGER NOT NULL REFERENCES monitor (num) ON DELETE CASCADE,
    state       TEXT NOT NULL CHECK (state IN ('running', 'success', 'failed', 'stuck', 'unknown')),
    started_at  INTEGER NOT NULL,
    ended_at    INTEGER,
    series      TEXT,
    host        TEXT,
    address     TEXT,
    opened      INTEGER NOT NULL CHECK (opened IN (0, 1)),  -- by a start
    awaited     INTEGER NOT NULL CHECK (awaited IN (0, 1)),
    next_at     INTEGER,                -- the occurrence after the one that it counts for
    deadline_at INTEGER,                -- where the monitor had max_run_seconds
    duration_ms INTEGER,                -- measured, else reported
    exit_code   INTEGER,
    message     TEXT,
    metrics     TEXT                    -- JSON object of numbers
) STRICT;
CREATE INDEX run_open ON run (monitor) WHERE state = 'running';
CREATE INDEX run_started ON run (monitor, started_at);
CREATE INDEX run_opened ON run (monitor, started_at) WHERE opened = 1;
CREATE INDEX run_series ON run (monitor, series, started_at) WHERE series IS NOT NULL;

CREATE TABLE run_log (                  -- apart, so that lists never read it
    run     INTEGER PRIMARY KEY REFERENCES run (num) ON DELETE CASCADE,
    content TEXT NOT NULL
) STRICT;

CREATE TABLE flip (
    num     INTEGER PRIMARY KEY AUTOINCREMENT,
    monitor INTEGER NOT NULL REFERENCES monitor (num) ON DELETE CASCADE,
    at      INTEGER NOT NULL,
    status  TEXT NOT NULL CHECK (status IN ('new', 'up', 'down', 'paused')),
    reason  TEXT
) STRICT;
CREATE INDEX flip_monitor ON flip (monitor, at);

CREATE TABLE integration (
    num        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    channel    TEXT NOT NULL,
    name       TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 200),
    config     TEXT NOT NULL,           -- JSON: what the channel needs
    enabled    INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
    is_default INTEGER NOT NULL DEFAULT 1 CHECK (is_default IN (0, 1)),
    failing    INTEGER NOT NULL DEFAULT 0 CHECK (failing IN (0, 1)),    -- the others were told
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE monitor_integration (
    monitor     INTEGER NOT NULL REFERENCES monitor (num) ON DELETE CASCADE,
    integration INTEGER NOT NULL REFERENCES integration (num) ON DELETE CASCADE,
    PRIMARY KEY (monitor, integration)
) STRICT, WITHOUT ROWID;
CREATE INDEX monitor_integration_integration ON monitor_integration (integration);

CREATE TABLE event (
    num     INTEGER PRIMARY KEY AUTOINCREMENT,
    id      TEXT NOT NULL UNIQUE,
    kind    TEXT NOT NULL,
    at      INTEGER NOT NULL,           -- its true time
    told_at INTEGER NOT NULL,           -- when it was noticed
    monitor INTEGER REFERENCES monitor (num) ON DELETE CASCADE,     -- null: the server's own
    body    TEXT NOT NULL               -- JSON, as it was then
) STRICT;
CREATE INDEX event_monitor ON event (monitor, num);

CREATE TABLE alert (                    -- the outbox: one event for one integration
    num         INTEGER PRIMARY KEY AUTOINCREMENT,
    event       INTEGER NOT NULL REFERENCES event (num) ON DELETE CASCADE,
    integration INTEGER NOT NULL REFERENCES integration (num) ON DELETE CASCADE,
    monitor     INTEGER,                -- the event's: alerts of one monitor go out in order
    state       TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sent', 'dead')),
    tries       INTEGER NOT NULL DEFAULT 0,
    tried_at    INTEGER,
    due_at      INTEGER NOT NULL,
    result      TEXT                    -- what came of the last try
) STRICT;
CREATE INDEX alert_event ON alert (event);
CREATE INDEX alert_due ON alert (integration, due_at) WHERE state = 'pending';
CREATE INDEX alert_order ON alert (integration, monitor, num) WHERE state = 'pending';

CREATE TABLE api_key (
    num        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 200),
    hash       TEXT NOT NULL UNIQUE,    -- SHA-256 of the secret, in hex
    prefix     TEXT NOT NULL,           -- its first characters, to recognise it by
    permission TEXT NOT NULL CHECK (permission IN ('ping', 'read-only', 'read-write')),
    created_at INTEGER NOT NULL
) STRICT;

-- part 2

-- For one monitor and integration alerts go out in order: one behind another is due when that one is
-- done, until then never (the largest instant that a reader of JSON takes). So nobody has to look
-- through all that waits behind a dead webhook.
UPDATE alert SET due_at = 9007199254740992 WHERE state = 'pending' AND EXISTS (
    SELECT 1 FROM alert b WHERE b.state = 'pending' AND b.integration = alert.integration
    AND b.monitor = alert.monitor AND b.num < alert.num);
CREATE TRIGGER alert_waits AFTER INSERT ON alert WHEN EXISTS (
    SELECT 1 FROM alert WHERE state = 'pending' AND integration = new.integration
    AND monitor = new.monitor AND num < new.num)
BEGIN
    UPDATE alert SET due_at = 9007199254740992 WHERE num = new.num;
END;
CREATE TRIGGER alert_done AFTER UPDATE OF state ON alert WHEN new.state != 'pending'
BEGIN
    UPDATE alert SET due_at = 0 WHERE due_at = 9007199254740992 AND num = (
        SELECT min(num) FROM alert WHERE state = 'pending' AND integration = new.integration
        AND monitor = new.monitor);
END;
CREATE TRIGGER alert_gone AFTER DELETE ON alert WHEN old.state = 'pending'
BEGIN
    UPDATE alert SET due_at = 0 WHERE due_at = 9007199254740992 AND num = (
        SELECT min(num) FROM alert WHERE state = 'pending' AND integration = old.integration
        AND monitor = old.monitor);
END;

-- part 3

CREATE TABLE user (
    num        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 200),
    password   TEXT,                    -- scrypt: salt and key in hex; null: only links sign in
    created_at INTEGER NOT NULL,
    seen_at    INTEGER                  -- last sign-in
) STRICT;

CREATE TABLE session (                  -- that of a signed-in user, or a link that opens one, once
    hash       TEXT PRIMARY KEY,        -- SHA-256 of the secret, in hex
    user       INTEGER NOT NULL REFERENCES user (num) ON DELETE CASCADE,
    is_link    INTEGER NOT NULL CHECK (is_link IN (0, 1)),
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX session_user ON session (user);

CREATE TABLE absence (                  -- when we were away: uptime leaves it out
    num   INTEGER PRIMARY KEY AUTOINCREMENT,
    since INTEGER NOT NULL,
    until INTEGER NOT NULL
) STRICT;

-- How many rows a monitor has in the table ping: counting a million takes longer than a page may.
ALTER TABLE monitor ADD COLUMN ping_count INTEGER NOT NULL DEFAULT 0;
UPDATE monitor SET ping_count = (SELECT count(*) FROM ping WHERE ping.monitor = monitor.num);
CREATE TRIGGER ping_gone AFTER DELETE ON ping
BEGIN
    UPDATE monitor SET ping_count = ping_count - 1 WHERE num = old.monitor;
END;

CREATE INDEX alert_integration ON alert (integration, tried_at);
CREATE INDEX alert_dead ON alert (tried_at) WHERE state = 'dead';

-- part 4

-- One index for what is due, and for what was expected while we were away: each ping moves what it
-- has there, among many monitors on a page of its own.
DROP INDEX monitor_due;
DROP INDEX monitor_expected;
CREATE INDEX monitor_due ON monitor (due_at, expected_at);

-- part 5

-- An occurrence that could not be verified since the last sign of life: there is no second one.
ALTER TABLE monitor ADD COLUMN unverified INTEGER NOT NULL DEFAULT 0 CHECK (unverified IN (0, 1));
-- What a run of before counted for is gone with the schedule of then.
ALTER TABLE monitor ADD COLUMN schedule_edited_at INTEGER;
-- Whether the end of a failed run was a sign of life: a repetition of it is one then.
ALTER TABLE run ADD COLUMN sign_of_life INTEGER NOT NULL DEFAULT 0 CHECK (sign_of_life IN (0, 1));
-- No deadline lies between this and a minute after `until`: since, or that of the absence before
-- where less than a minute lay between.
ALTER TABLE absence ADD COLUMN spared_since INTEGER;

-- The newest run of a series is the one that was told of last.
DROP INDEX run_series;
CREATE INDEX run_series ON run (monitor, series) WHERE series IS NOT NULL;

-- A receiver that asks to be left alone, or that nobody answers for, is not asked for a while. What
-- it refuses steps aside after three tries: it is tried on, and the next one of its monitor goes.
ALTER TABLE integration ADD COLUMN rests_until INTEGER;
ALTER TABLE integration ADD COLUMN failed_tries INTEGER NOT NULL DEFAULT 0;     -- in a row
ALTER TABLE alert ADD COLUMN answer TEXT;       -- what the receiver said to the last try
ALTER TABLE alert ADD COLUMN is_aside INTEGER NOT NULL DEFAULT 0 CHECK (is_aside IN (0, 1));

DROP TRIGGER alert_waits;
CREATE TRIGGER alert_waits AFTER INSERT ON alert WHEN EXISTS (
    SELECT 1 FROM alert WHERE state = 'pending' AND integration = new.integration
    AND monitor = new.monitor AND num < new.num AND NOT is_aside)
BEGIN
    UPDATE alert SET due_at = 9007199254740992 WHERE num = new.num;
END;
DROP TRIGGER alert_done;
CREATE TRIGGER alert_done AFTER UPDATE OF state, is_aside ON alert
WHEN new.state != 'pending' OR new.is_aside
BEGIN
    UPDATE alert SET due_at = 0 WHERE due_at = 9007199254740992 AND num = (
        SELECT min(num) FROM alert WHERE state = 'pending' AND integration = new.integration
        AND monitor = new.monitor AND NOT is_aside);
END;
DROP TRIGGER alert_gone;
CREATE TRIGGER alert_gone AFTER DELETE ON alert WHEN old.state = 'pending'
BEGIN
    UPDATE alert SET due_at = 0 WHERE due_at = 9007199254740992 AND num = (
        SELECT min(num) FROM alert WHERE state = 'pending' AND integration = old.integration
        AND monitor = old.monitor AND NOT is_aside);
END;

-- The oldest alert that waits behind no other one.
CREATE INDEX alert_oldest ON alert (integration, num, due_at)
    WHERE state = 'pending' AND due_at < 9007199254740992;

-- Which rules a run matched, for a silent failure: a JSON list. What was told before is taken over.
ALTER TABLE run ADD COLUMN matched TEXT;
UPDATE run SET matched = json_extract(event.body, '$.rules') FROM event
    WHERE event.kind = 'silent_failure' AND event.monitor = run.monitor
    AND json_extract(event.body, '$.run.id') = CAST(run.num AS TEXT);

-- What the first screen counts. No ping changes them but one that changes a status.
CREATE INDEX monitor_status ON monitor (status);
CREATE INDEX monitor_tags ON monitor (tags) WHERE tags != '';

-- The API key with which a program made it: one that may only ping makes a limited number.
ALTER TABLE monitor ADD COLUMN registered_by INTEGER REFERENCES api_key (num) ON DELETE SET NULL;
CREATE INDEX monitor_registered ON monitor (registered_by) WHERE registered_by IS NOT NULL;

-- Which runs of a monitor have a log, newest first: what is too much goes as another one comes.
ALTER TABLE run_log ADD COLUMN monitor INTEGER;         -- its run's
UPDATE run_log SET monitor = (SELECT run.monitor FROM run WHERE run.num = run_log.run);
CREATE INDEX run_log_monitor ON run_log (monitor, run);

-- The open runs that have a deadline apart from those that never get one.
DROP INDEX run_open;
CREATE INDEX run_open ON run (monitor, awaited) WHERE state = 'running';
