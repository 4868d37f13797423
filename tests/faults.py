"""Faults of one line: what stands in cronwatch.py, what makes a fault of it, what somebody would
suffer then, and the test that sees it. test_faults.py plays them; the faults in the rules of time
are in test_year.py, where a whole year is the test."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """A fragment that stands once in cronwatch.py, and what takes its place."""

    fragment: str
    instead: str
    harm: str
    test: str  # FILE::FUNCTION, or a heading of a transcript or a story


FAULTS = {
    "Settings": [
        Fault(
            "text = flags.get(setting.name)",
            "text = None",
            "a flag of the command line is ignored",
            "test_cli.py::test_every_setting_is_a_variable_that_its_flag_outranks",
        ),
        Fault(
            'environ.get(f"CRONWATCH_{setting.name.upper()}")',
            'environ.get(f"CRONWATCH_{setting.name}")',
            "what a unit file sets is ignored",
            "test_cli.py::test_every_setting_is_a_variable_that_its_flag_outranks",
        ),
        Fault(
            '.upper()}") or None',
            '.upper()}")',
            "an unset ${X} in a Compose file is a setting, and the server does not start",
            "test_settings.py::test_an_empty_variable_counts_as_unset",
        ),
    ],
    "Schedules": [
        Fault(
            '"@weekly": "0 0 * * 0"',
            '"@weekly": "0 0 * * 1"',
            "a weekly job is called missed each Monday",
            "test_schedules.py::test_a_schedule_means",
        ),
        Fault(
            "0, day_or=False, second_at_beginning=True",
            "0, day_or=False, second_at_beginning=False",
            "the seconds of a schedule are read as minutes",
            "test_schedules.py::test_seconds_come_first",
        ),
        Fault(
            'if not day.startswith("*") and not weekday.startswith("*"):',
            "if True:",
            "a job on each second day that is a Monday is expected each second day",
            "test_schedules.py::test_a_schedule_means",
        ),
        Fault(
            'return "*" if is_all and',
            'return "*" if False and',
            "a weekly job of cronradar-celery is expected each day",
            "transcripts/cronradar.http: A list of all values is a star, as cronradar-celery "
            "spells one",
        ),
        Fault(
            "_instants(zone, wall)[:1] + _clock",
            "_instants(zone, wall)[1:] + _clock",
            "in the night the clock goes back a job is expected an hour after cron ran it",
            "test_schedules.py::test_a_fixed_job_runs_once_in_the_night_the_clock_goes_back",
        ),
        Fault(
            "field = CRON_RANGE.sub(_without_equal_ends, field)",
            "pass",
            "a job of each fifth minute past is expected each minute",
            "test_schedules.py::test_a_schedule_means",
        ),
        Fault(
            'if "w" in field.replace("wed", ""):',
            "if False:",
            "the working day nearest to the 15th is taken for the 15th",
            "test_schedules.py::test_a_schedule_is_refused_in_words",
        ),
    ],
    "Records and rules": [
        Fault(
            '"le": operator.le',
            '"le": operator.lt',
            "a rule that tells at 0 or less is silent at 0",
            "test_rules.py::test_a_rule_compares_a_field_with_a_value",
        ),
        Fault(
            "isinstance(rules, list) or len(rules) > 20:",
            "isinstance(rules, list):",
            "each ping of a monitor goes through a thousand rules",
            "test_rules.py::test_a_wrong_rule_is_refused_with_the_reason",
        ),
        Fault(
            "run.duration_ms / 1000\n    if run.exit_code",
            "run.duration_ms\n    if run.exit_code",
            "a rule on seconds sees milliseconds",
            "stories/troubles.txt: A rule looks at the reported duration, else at that from start "
            "to end",
        ),
        Fault(
            'values["exit_code"] = run.exit_code',
            "pass",
            "a rule on the exit code never matches",
            "stories/troubles.txt: A rule looks at the exit code where it is known",
        ),
        Fault(
            "if ends_run or find_repeated(state, ping) is not None:",
            "if find_repeated(state, ping) is not None:",
            "the end of a short job is refused, and the job is called stuck",
            "transcripts/crontify.http: The end of a run never has to wait, and after the "
            "interval it may start again",
        ),
        Fault(
            "m.failures, m.digests = 0, None\n    _live",
            "m.failures = 0\n    _live",
            "failures are told after somebody said that all is well",
            "stories/troubles.txt: Ok drops digests and reminders, and leaves runs open",
        ),
        Fault(
            'is_counted = m.status != "paused" and (m.armed or not is_new)',
            'is_counted = m.status != "paused" and not is_new',
            "an armed monitor that never ran is silent for ever after a pause",
            "stories/pauses.txt: Cronping's resume arms a new armed monitor anew",
        ),
        Fault(
            "if m.unverified and not _lies_within(m, awaited, absence):",
            "if False:",
            "a job that is dead is excused by each restart",
            "stories/absences.txt: Two gaps in a row without a sign of life are no excuse",
        ),
        Fault(
            "return absence.until + RESTART_MS\n    return at",
            "return at\n    return at",
            "a restart in the minute of a deadline calls a job missed",
            "stories/absences.txt: No deadline falls into a gap or the minute after it",
        ),
        Fault(
            "return max(of_series, key=lambda run: run.num, default=None)",
            "return min(of_series, key=lambda run: run.num, default=None)",
            "a script with one series for all its runs gets stuck",
            "stories/runs.txt: A ping with a series belongs to the newest run of it",
        ),
        Fault(
            "is_same = run.ended_at is not None and ping.at - run.ended_at <= RETRY_MS",
            "is_same = False",
            "a run whose end overtook its start is called stuck",
            "stories/runs.txt: A start that its own end has overtaken opens no second run",
        ),
        Fault(
            "if not is_latest and m.expected_at is None:",
            "if False:",
            "a job that ran across Cronping's resume is never missed again",
            "stories/pauses.txt: After Cronping's resume the end of a run that began before "
            "counts from its arrival",
        ),
        Fault(
            "if run is None or not _is_ahead_of_start(run, ping):",
            "if True:",
            "a run whose progress overtook its start runs for ever, beside itself",
            "stories/runs.txt: Progress that overtook the start of its run is part of it",
        ),
        Fault(
            "is_waited_for = has_deadline and run.awaited",
            "is_waited_for = has_deadline",
            "a job with a longest time is shown as running for ever, though nobody waits for it",
            "stories/runs.txt: With a longest time it ends those that nobody waits for",
        ),
    ],
    "Dialects": [
        Fault(
            "None if r.duration_ms is None else r.duration_ms // 1000",
            "r.duration_ms",
            "CronRadar's clients read milliseconds as seconds",
            "transcripts/cronradar.http: A run is answered with its times, and the seconds that "
            "it took",
        ),
        Fault(
            "message_max=255,",
            "message_max=25,",
            "a message of CronBeats is cut short",
            "transcripts/cronbeats.http: A message is cut at 255 characters",
        ),
        Fault(
            "message_max=500,",
            "message_max=5000,",
            "an error message of Crontify fills the phone",
            "transcripts/crontify.http: Messages and logs are cut",
        ),
        Fault(
            "log_max=100_000,",
            "log_max=10_000,",
            "the log that borgmatic sends is cut, though it was told otherwise",
            "transcripts/healthchecks.http: An output as long as was told is kept whole, a longer "
            "one is cut",
        ),
        Fault(
            '"Ping-Body-Limit": "100000"',
            '"Ping-Body-Limit": "1000"',
            "runitor sends the last lines of a log only",
            "transcripts/healthchecks.http: Runitor hears how long a body may be",
        ),
        Fault(
            "says_created=True,",
            "says_created=False,",
            "a client of Healthchecks does not see that it made a monitor by a typing error",
            "transcripts/healthchecks.http: An unknown slug is made where the client says so, "
            "with the defaults of Healthchecks",
        ),
        Fault(
            '"success" if word == "up" else "fail"',
            '"success"',
            "a push that says `down` is taken for a success",
            "transcripts/kuma.http: A push is up unless it says otherwise",
        ),
        Fault(
            '("fail" if value else "success", value)',
            '("fail" if value > 1 else "success", value)',
            "a job that ends with exit code 1 is well",
            "transcripts/cronping.http: Each endpoint records its signal",
        ),
        Fault(
            "html.escape(r.key)",
            "r.key",
            "the key of a monitor is a script on the page that a pause answers",
            "transcripts/cronitor.http: A pause lasts so many hours, is no ping, and answers a "
            "page",
        ),
        Fault(
            'creates=lambda query: {"grace_seconds": 60}',
            "creates=lambda query: None",
            "a new job that Cronitor's SDK reports is not watched",
            "transcripts/cronitor.http: An unknown key makes a monitor, once, without a schedule",
        ),
        Fault(
            'auth="auth_key",',
            'auth="",',
            "whoever guesses a code pings, although pings must be authenticated",
            "transcripts/cronitor.http: Where pings must be authenticated, one without a valid "
            "key is acknowledged and dropped",
        ),
        Fault(
            'needs_key=True,\n            wants_key="Invalid API key"',
            'needs_key=False,\n            wants_key="Invalid API key"',
            "Crontify's path needs no key",
            "transcripts/crontify.http: Without a valid key it is refused, whoever is meant",
        ),
        Fault(
            '    "e": "success",',
            '    "e": "start",',
            "a job of an old crontab that pings /e never ends",
            "transcripts/cronitor.http: Each endpoint and alias records its signal",
        ),
        Fault(
            'query.get("series") or query.get("rid")',
            'query.get("rid")',
            "two runs of Cronitor at once are taken for one",
            "transcripts/cronitor.http: Pings with one series are one run",
        ),
        Fault(
            '"nextExpectedAt": iso(r.deadline_at)',
            '"nextExpectedAt": iso(r.next_at)',
            "Cronping's clients are told a deadline without the grace",
            "transcripts/cronping.http: A success is answered with the next deadline: the next "
            "time and the grace",
        ),
        Fault(
            "return figure if abs(figure) < 2**53 else None",
            "return figure",
            "a number that JavaScript cannot hold is shown wrongly",
            "test_dialects_pure.py::test_what_is_no_finite_number_is_dropped",
        ),
    ],
    "Pings": [
        Fault(
            'key is not None and key[1] != "read-only"',
            "key is not None",
            "a key that may only read can ping",
            "transcripts/who.http: A key that may ping is enough, and registers too",
        ),
        Fault(
            "SET dropped_pings = dropped_pings + 1",
            "SET dropped_pings = dropped_pings",
            "nobody sees that pings without an auth_key are dropped",
            "test_dialects.py::test_dropped_pings_are_counted_and_shown",
        ),
        Fault(
            "isinstance(items, list) or len(items) > 100:",
            "isinstance(items, list):",
            "one sync holds up the pings of all others",
            "transcripts/cronradar.http: A sync takes a hundred monitors, and no more",
        ),
        Fault(
            "return schedule in ((None, None), (before",
            "return True or schedule in ((None, None), (before",
            "each start of an SDK reverts what a person set",
            "test_dialects.py::test_a_declared_schedule_that_changes_reverts_no_edit",
        ),
        Fault(
            '"MONITOR_NOT_FOUND", 404',
            '"MONITOR_NOT_FOUND", 410',
            "CronRadar's SDK does not register a job that is new",
            "transcripts/cronradar.http: An unknown monitor without a schedule is not found",
        ),
        Fault(
            "refusal = Refused if target.key else Unknown",
            "refusal = Refused",
            "handles are guessed by the thousand",
            "test_people.py::test_unknown_handles_are_limited_by_address",
        ),
        Fault(
            "m.ping_count += 1",
            "m.ping_count += 0",
            "the pings of a monitor are not counted, and kept for ever",
            "test_site.py::test_a_story[The pings of a monitor are counted right]",
        ),
        Fault(
            'if permission == "ping" and counted[0][0] >= REGISTERED_MAX:',
            "if False:",
            "a key that leaked from one host fills the database with monitors",
            "test_people.py::test_a_ping_key_registers_a_thousand_monitors",
        ),
        Fault(
            "and ping.log is not None and not state.is_repeated",
            "and ping.log is not None",
            "a retry or an overtaken start adds to the log that the failed run left",
            "transcripts/healthchecks.http: A ping that says again what is known leaves the "
            "output of its run as it is",
        ),
        Fault(
            "substr(content || char(10) || excluded.content, -?4)",
            "excluded.content",
            "of a log in parts only the last one is kept",
            "transcripts/healthchecks.http: The outputs of all pings of a run are kept, one after "
            "the other",
        ),
        Fault(
            "substr(content || char(10) || excluded.content, -?4)",
            "substr(content || char(10) || excluded.content, 1)",
            "a job that sends its log in parts fills the disk",
            "transcripts/healthchecks.http: Where they are too long together, the end of them is "
            "kept",
        ),
        Fault(
            "ping = ping._replace(message=clean(ping.log, target.dialect.message_max))",
            "pass",
            "a log that comes after its run has ended is lost",
            "transcripts/healthchecks.http: What a log says that belongs to no run is kept as its "
            "message",
        ),
    ],
    "Actions": [
        Fault(
            '"default_integrations": int(integrations is None),',
            '"default_integrations": 1,',
            "a monitor is told to those whom its maker left out",
            "test_site.py::test_a_story[Default mail is told too, unless it is off]",
        ),
        Fault(
            '"prefix": secret[: min(12, len(secret) - 4)],',
            '"prefix": secret,',
            "API keys stand in the database, and are listed, in the clear",
            "test_people.py::test_keys_are_listed_by_their_first_12_characters",
        ),
        Fault(
            "\"state != 'running' AND num NOT IN (SELECT num FROM run last WHERE \"",
            '"num NOT IN (SELECT num FROM run last WHERE "',
            "housekeeping deletes a run that goes on",
            "test_site.py::test_a_story[An awaited one is not left behind before its deadline]",
        ),
        Fault(
            "(monitor, most, keep),",
            "(monitor, most, keep + 1),",
            "more logs are kept of a monitor than was set",
            "test_site.py::test_a_story[The newest logs of a monitor are kept, as they come]",
        ),
        Fault(
            "m.due_at = change.at if change else None",
            "m.due_at = m.due_at",
            "nobody is told of a job that was missed",
            "transcripts/cronping.http: The deadline that is told is the one that is kept",
        ),
        Fault(
            "WHEN 'email' THEN {HAS_MAIL} AND m.email_alerts",
            "WHEN 'email' THEN {HAS_MAIL}",
            "a monitor whose mails are off goes on sending mails",
            "test_site.py::test_a_story[Default mail is told too, unless it is off]",
        ),
        Fault(
            "WHERE i.enabled AND CASE i.channel",
            "WHERE CASE i.channel",
            "an integration that was switched off is told",
            "test_site.py::test_a_story[One that is switched off is not told]",
        ),
        Fault(
            "min(seconds, PAUSE_MAX) * 1000",
            "min(seconds, PAUSE_MAX) * 16",
            "a pause for a day ends after 24 minutes, and somebody is woken",
            "transcripts/cronitor.http: A pause lasts so many hours, is no ping, and answers a "
            "page",
        ),
        Fault(
            "text = text.lower() if TOKEN.fullmatch(text) else text\n    if clean",
            "if clean",
            "an adopted UUID in capitals is never found",
            "transcripts/who.http: The bare form of an adopted handle, and the wording, follow "
            "its dialect",
        ),
        Fault(
            'or "://" in text or text in RESERVED:',
            'or "://" in text:',
            "a handle that no ping can reach is adopted without a word",
            "test_dialects.py::test_a_first_segment_of_ours_is_never_adopted_as_a_handle",
        ),
    ],
    "Alerts": [
        Fault(
            "(10, 30, 120, 600, 3600, *[3600] * 24)",
            "(10, 30)",
            "an alert is given up after a minute without a network",
            "test_rules.py::test_tries_are_spaced_ever_wider_then_hourly_for_a_day_then_the_alert_is_dead",
        ),
        Fault(
            'if 200 <= reply.status < 300:\n        return Attempt("sent"',
            'if 200 <= reply.status < 600:\n        return Attempt("sent"',
            "an alert that was answered 500 counts as told",
            "test_alerts.py::test_what_a_web_server_answers_is_judged_by_its_status",
        ),
        Fault(
            '"webhook-id": event["id"]',
            '"webhook-id": str(uuid.uuid4())',
            "a receiver cannot tell a retry from another event",
            "test_alerts.py::test_a_retry_has_the_same_id_and_body_and_a_time_of_its_own",
        ),
        Fault(
            'f"{id_}.{stamp}.".encode()',
            'f"{id_}.".encode()',
            "no library of Standard Webhooks verifies what we sign",
            "test_alerts.py::test_a_webhook_is_signed_as_standard_webhooks_has_it",
        ),
        Fault(
            '"allowed_mentions": {"parse": []}',
            '"allowed_mentions": {}',
            "the message of a job calls everyone on Discord",
            "test_texts.py::test_discord_calls_nobody",
        ),
        Fault(
            "html.escape(message.headline[:3000], quote=False)",
            "message.headline[:3000]",
            "the message of a job calls everybody on Slack",
            "test_texts.py::test_slack_takes_no_markup_from_a_message",
        ),
        Fault(
            "failed + 1 >= TRIES_UNTIL_FAILING and not failing",
            "failed + 1 >= 400 and not failing",
            "nobody hears that a webhook is dead",
            "test_site.py::test_a_story[After the fourth failed try the others are told]",
        ),
        Fault(
            "if other != integration]",
            "if other]",
            "a dead webhook is told that it is dead, again and again",
            "test_site.py::test_a_story[The one that failed is not told of it]",
        ),
        Fault(
            "env={**inherited, **event_variables(event)},",
            "env={**os.environ, **event_variables(event)},",
            "the SMTP password is in the environment of each command",
            "test_alerts.py::test_a_command_is_told_the_event_and_nothing_else_of_where_it_runs",
        ),
        Fault(
            '.replace("=?", "= ?")',
            "",
            "the message of a job adds headers to a mail",
            "test_alerts.py::test_a_hostile_message_adds_no_header_to_a_mail",
        ),
        Fault(
            "|content-length|",
            "|",
            "a header of a webhook breaks its framing, and nothing arrives",
            "transcripts/integrations.http: Headers that cannot be sent are refused",
        ),
        Fault(
            "server.login(user, password)",
            "pass",
            "a mail server that wants a password takes no alert",
            "test_alerts.py::test_mail_signs_in_where_a_user_is_set",
        ),
        Fault(
            'if settings.smtp_security == "starttls":',
            "if False:",
            "mails and the password go over the network in the clear",
            "test_alerts.py::test_mail_is_not_sent_in_the_clear_where_starttls_is_set",
        ),
        Fault(
            "    seconds = whole(retry_after)\n",
            "    seconds = None\n",
            "a receiver that wants two minutes is asked again after half a minute",
            "test_alerts.py::test_what_a_web_server_answers_is_judged_by_its_status",
        ),
        Fault(
            'return {"tries": tries - 1, "due_at": now}',
            'return {"due_at": now}',
            "an alert is given up because its receiver was busy",
            "test_site.py::test_a_story[A busy receiver costs no try and is not overdue]",
        ),
        Fault(
            'steps_aside = attempt.verdict == "refused" and tries >= ASIDE_TRIES',
            "steps_aside = False",
            "an alert that is never taken holds up all others of its monitor for a day",
            "test_site.py::test_a_story[An alert that is refused three times steps aside]",
        ),
        Fault(
            '{"failing": 0, "failed_tries": 0, "rests_until": None}',
            '{"failing": 0, "rests_until": None}',
            "four failed tries in a year are told as a dead webhook",
            "test_site.py::test_a_story[Four tries in a row count, of whichever alerts]",
        ),
        Fault(
            'columns["state"] = "dead"\n    update(',
            "pass\n    update(",
            "a test that was interrupted is sent again, a day later",
            "test_site.py::test_a_story[A test that nobody finished is not sent again]",
        ),
    ],
    "Management": [
        Fault(
            "whole_of(60, 2_592_000)",
            "whole_of(1, 2_592_000)",
            "an interval of a second is taken, against Cronping's page",
            "test_api.py::test_a_field_that_cannot_be_is_refused_by_name",
        ),
        Fault(
            'return m.status == "up" and m.expected_at is not None',
            "return m.expected_at is not None",
            "a monitor that is down or paused is shown as late",
            "test_management.py::test_it_is_late_in_its_grace_only",
        ),
        Fault(
            "**(_handles_json(tx, handles[m.num]) if secret else {}),",
            "**_handles_json(tx, handles[m.num]),",
            "a key that may only read sees what pings",
            "test_api.py::test_a_read_only_key_sees_no_handle",
        ),
        Fault(
            "if secret:\n        integration |= integration_config",
            "if True:\n        integration |= integration_config",
            "a key that may only read sees the secrets of webhooks",
            "test_management.py::test_a_read_only_key_sees_nothing_that_an_integration_needs",
        ),
        Fault(
            "if channel in LOCAL_CHANNELS and not request.is_local:",
            "if False:",
            "who has an API key runs commands on the server",
            "test_management.py::test_a_command_is_never_created",
        ),
        Fault(
            "resume(state, tx.now, True)",
            "resume(state, tx.now)",
            "a heartbeat that was resumed is called up before it has pinged",
            "test_api.py::test_a_resume_resets_the_status_to_new",
        ),
        Fault(
            "MONITOR_LIMIT = limit(100, 50)",
            "MONITOR_LIMIT = limit(10**9, 50)",
            "one request asks for a million monitors at once",
            "test_api.py::test_a_limit_that_cannot_be_is_refused",
        ),
        Fault(
            "if handle[1] in OUR_HANDLES:",
            "if False:",
            "a monitor loses its token, and cannot be shown any more",
            "test_management.py::test_our_own_handles_cannot_be_removed",
        ),
        Fault(
            'execute(tx.db, "DELETE FROM handle WHERE monitor = ? AND kind = ?", (m.num, kind))\n'
            "    adopt(tx, m.num, OUR",
            "adopt(tx, m.num, OUR",
            "a token that leaked goes on pinging after it was rotated",
            "test_management.py::test_a_rotated_handle_pings_no_more",
        ),
        Fault(
            '"kind": kind,\n        "result": outcome_text(result, answer) if secret else None',
            '"kind": kind,\n        "result": outcome_text(result, answer)',
            "a key that may only read sees what a receiver answered",
            "test_permissions.py::test_no_secret_is_shown_to_a_read_only_key",
        ),
    ],
    "Reports": [
        Fault(
            "totals[status] += end - begin - away",
            "totals[status] += end - begin",
            "uptime counts the time in which cronwatch was away",
            "test_management.py::"
            "test_uptime_leaves_out_pauses_absences_and_the_time_before_the_first_ping",
        ),
        Fault(
            "ORDER BY instr('{' '.join(STATES)}', state), name",
            "ORDER BY name",
            "those in trouble stand at the end of the first screen",
            "test_management.py::test_those_in_trouble_come_first",
        ),
        Fault(
            'values, "e.num DESC")',
            'values, "e.num")',
            "the log of events begins with those of last year",
            "test_api.py::test_events_come_newest_first",
        ),
        Fault(
            'RUNS_SQL + "WHERE num = ? AND monitor = ?"',
            'RUNS_SQL + "WHERE num = ? AND ?"',
            "the run of another monitor is shown",
            "test_management.py::test_a_run_of_another_heartbeat_is_not_found",
        ),
        Fault(
            "page.sort(key=lambda row: (row[3], row[0]), reverse=True)",
            "page.sort(key=lambda row: (row[3], row[0]))",
            "the newest ping of a monitor is the last one of its page",
            "test_api.py::test_pings_come_newest_first",
        ),
        Fault(
            "if not _ran_for(m, occurrence, early, starts)",
            "if True",
            "a job that fails each hour is shown as one that never runs",
            "test_reports.py::test_an_hour_that_was_missed_is_a_slot_of_the_strip",
        ),
        Fault(
            "any(since <= occurrence and occurrence + grace <= to",
            "any(False",
            "what ran while we were away is shown as missed",
            "test_reports.py::test_what_was_missed_while_we_were_away_is_no_slot",
        ),
    ],
    "People": [
        Fault(
            '"read-only": {"read-only"},',
            '"read-only": {"read-only", "read-write"},',
            "a key that may only read deletes monitors",
            "transcripts/door.http: A key that may too little is told so",
        ),
        Fault(
            "AND NOT is_link AND expires_at > ?",
            "AND NOT is_link AND ?",
            "a session never ends",
            "test_people.py::test_a_session_expires",
        ),
        Fault(
            "WHERE hash = ? AND NOT is_link",
            "WHERE hash = ?",
            "a link from a chat is a session for an hour",
            "test_people.py::test_a_link_is_no_session",
        ),
        Fault(
            '"DELETE FROM session WHERE user = ? AND hash != ?"',
            '"DELETE FROM session WHERE user = ? AND hash = ?"',
            "who stole a session keeps it after the password was changed",
            "test_people.py::test_a_password_is_changed_and_ends_the_sessions",
        ),
        Fault(
            "if not links or links[0][0] <= tx.now:",
            "if not links:",
            "a link of last year signs in",
            "test_people.py::test_a_link_works_for_an_hour",
        ),
        Fault(
            "SIGN_INS_MAX = 5",
            "SIGN_INS_MAX = 5000",
            "passwords are tried by the thousand without a wait",
            "test_people.py::test_after_five_failures_one_has_to_wait",
        ),
        Fault(
            "limiter.forget(who)",
            "pass",
            "who mistypes now and then has to wait at last",
            "test_people.py::test_a_success_is_a_new_beginning",
        ),
        Fault(
            '"DELETE FROM session WHERE hash = ?", (request.session,)',
            '"DELETE FROM session WHERE hash IS NULL AND ?", (request.session,)',
            "who signs out on a foreign machine stays signed in",
            "test_people.py::test_signing_out_ends_the_session",
        ),
        Fault(
            "((secret, False), (cookie, True))",
            "((secret or cookie, not secret),)",
            "behind a proxy with a login nobody stays signed in",
            "test_people.py::test_a_cookie_counts_whatever_login_a_proxy_sends_along",
        ),
        Fault(
            "if not is_json(environ):  # a foreign page could",
            "if False:  # a foreign page could",
            "a foreign page signs a browser in as somebody else",
            "test_people.py::test_a_sign_in_that_a_foreign_page_could_send_is_refused",
        ),
    ],
    "Metrics": [
        Fault(
            'if result.kind == "pause" or result.status == "dropped":',
            "if False:",
            "pings that were dropped are counted as recorded",
            "test_metrics.py::test_a_ping_that_is_dropped_is_no_ping",
        ),
        Fault(
            "last_ping_at / 1000",
            "last_ping_at",
            "Prometheus takes the last ping of each job for one of the year 58000",
            "test_metrics.py::test_a_monitor_tells_when_it_was_last_heard_of",
        ),
        Fault(
            "float(one == m.status)",
            "1.0",
            "an alert of Prometheus sees each monitor down",
            "test_metrics.py::test_a_monitor_has_the_status_that_it_has_and_no_other",
        ),
    ],
    "Restarts": [
        Fault(
            "self.is_of_command = False\n            alive_at",
            "self.is_of_command = False\n            return\n            alive_at",
            "a command while the server is stopped makes a job missed",
            "test_site.py::test_a_story[A command judges first how long no server ran]",
        ),
        Fault(
            'if header[18:] == b"\\x01\\x01":',
            "if False:",
            "a backup put in place after a kill is destroyed by the log of before",
            "test_backup.py::test_the_log_of_the_file_before_is_not_read_into_a_copy",
        ),
        Fault(
            'if header[18:] == b"\\x01\\x01":',
            "if True:",
            "what was acknowledged before a kill is set aside",
            "test_backup.py::test_a_file_keeps_its_own_log",
        ),
        Fault(
            "    if not has_leapt(tx):\n",
            "    if True:\n",
            "a clock that leaps ahead signs everybody out",
            "test_people.py::test_a_clock_that_leaps_ahead_ends_no_session",
        ),
        Fault(
            '    if columns.get("enabled") == 0:\n',
            "    if False:\n",
            "who was switched off is told a week later of what is long well",
            "test_site.py::test_a_story[Who is off or unlinked is told nothing later]",
        ),
    ],
    "Configuration": [
        Fault(
            '"secret", "headers"} if secret else set()',
            '"secret", "headers"}',
            "what signs webhooks is in a file under version control",
            "test_configuration.py::test_no_secret_is_exported_unless_asked_for",
        ),
        Fault(
            '"(?:token|code|handle|secret)',
            '"(?:handle|secret)',
            "the diff of a dry run shows what pings in the log of CI",
            "test_configuration.py::test_what_changes_is_said_without_a_secret",
        ),
        Fault(
            "if is_dry:\n            raise DryRun",
            "if False:\n            raise DryRun",
            "a dry run changes everything",
            "test_configuration.py::test_a_dry_run_changes_nothing",
        ),
        Fault(
            'f"{kind}, {clean(item.get(name), 200)}: {refused.sentence}"',
            "refused.sentence",
            "nobody is told which of a hundred monitors in a file is wrong",
            "test_configuration.py::test_the_item_that_is_wrong_is_named",
        ),
        Fault(
            'settings = {"CRON_TZ": timezone',
            'settings = {"CRON_TZ": "UTC"',
            "the jobs of a crontab are expected at UTC",
            "test_crontab.py::test_a_schedule_is_in_the_zone_of_the_machine",
        ),
        Fault(
            "if num is None and job.handle:",
            "if False:",
            "a job of a crontab is wrapped twice",
            "test_crontab.py::test_a_job_that_has_the_wrapper_is_left_alone",
        ),
        Fault(
            "json.dumps([host, job.user.strip(), clean(job.command, 10_000)])",
            "json.dumps([job.user.strip(), clean(job.command, 10_000)])",
            "the same job of two machines is one monitor, and one of them may die",
            "test_crontab.py::test_the_same_command_on_another_host_is_another_job",
        ),
        Fault(
            'if (m.cron, m.timezone) == (declared.get("cron"), declared.get("timezone")):',
            "if True:",
            "the import of a crontab reverts the time that a person set",
            "test_crontab.py::test_a_time_that_a_person_set_stays_and_is_said",
        ),
        Fault(
            'name if folder in job.path.split(":") else',
            "name if folder else",
            "cron does not find the wrapper, and no job of the crontab runs",
            "test_crontab.py::test_the_wrapper_has_its_path_where_cron_would_not_find_it",
        ),
    ],
    "Command line": [
        Fault(
            'print(f"cronwatch: {sentence}", file=sys.stderr)\n        return 1',
            'print(f"cronwatch: {sentence}", file=sys.stderr)\n        return 0',
            "a script goes on although its command was refused",
            "test_cli.py::test_what_cannot_be_is_refused_in_one_sentence",
        ),
        Fault(
            'print(f"cronwatch: {sentence}", file=sys.stderr)',
            'print(f"cronwatch: {sentence}")',
            "what was wrong stands in the file that a command should have written",
            "test_cli.py::test_a_refusal_is_an_exit_code_and_one_line_on_standard_error",
        ),
        Fault(
            'fields["armed"] = options.armed',
            'fields["armed"] = False',
            "a job that never runs is never missed, although --armed was said",
            "test_cli.py::test_an_added_monitor_takes_all_that_its_flags_say",
        ),
        Fault(
            'if is_new and has_folder and command.database == "old":',
            "if False:",
            "a typing error in --database makes an empty file and lists no monitor",
            "test_cli.py::test_a_refusal_is_an_exit_code_and_one_line_on_standard_error",
        ),
        Fault(
            'if not outcome["ok"]:\n        raise Refused',
            "if False:\n        raise Refused",
            "`integration test` says that all is well where nothing was sent",
            "test_cli.py::test_a_failed_test_of_an_integration_says_why",
        ),
        Fault(
            "if not options.yes and sys.stdin.isatty():",
            "if False:",
            "a typing error removes a monitor with all its history, unasked",
            "test_cli.py::test_what_cannot_be_undone_is_asked_first_on_a_terminal",
        ),
        Fault(
            "except BrokenPipeError:",
            "except RecursionError:",
            "`cronwatch monitor list | head -1` ends in a traceback",
            "test_cli.py::test_a_reader_who_has_gone_ends_a_command_quietly",
        ),
    ],
    # What a client or an operator sees of the storage, of the loops and of HTTP.
    "Storage": [
        Fault(
            '"synchronous": "full"',
            '"synchronous": "off"',
            "a ping that was acknowledged is lost with the power",
            "test_storage.py::test_the_writer_has_these_pragmas",
        ),
        Fault(
            'pragmas = {"foreign_keys": 1,',
            'pragmas = {"foreign_keys": 0,',
            "the handles of a deleted monitor are still known",
            "test_management.py::test_the_handles_of_a_deleted_heartbeat_ping_nothing",
        ),
        Fault(
            "os.O_CREAT | os.O_RDWR, 0o600",
            "os.O_CREAT | os.O_RDWR, 0o644",
            "everybody on the host reads what pings",
            "test_retention.py::test_a_new_file_is_for_its_owner_alone",
        ),
        Fault(
            "if version > len(parts):",
            "if False:",
            "an older cronwatch writes into a database that it does not understand",
            "test_storage.py::test_a_file_from_a_newer_version_is_refused_with_a_sentence",
        ),
        Fault(
            'copy_file(path, f"{path}.before-{number}")',
            "pass",
            "an upgrade leaves no way back",
            "test_storage.py::test_an_older_file_is_copied_before_it_is_changed",
        ),
        Fault(
            'raise Refused(f"{name} is there already: choose another name")',
            "pass",
            "a backup takes the place of the one of yesterday",
            "test_backup.py::test_a_name_that_something_has_is_refused",
        ),
        Fault(
            'at the moment", "UNAVAILABLE", 503)',
            'at the moment", "UNAVAILABLE", 500)',
            "a full disk looks like a fault of ours to those who try again",
            "transcripts/kuma.http: What goes wrong inside is an error of its shape",
        ),
        Fault(
            'execute(self.connection, "ROLLBACK TO part")',
            'execute(self.connection, "RELEASE part"); execute(self.connection, "SAVEPOINT part")',
            "a monitor that could not be judged is left half done",
            "test_site.py::test_a_story[A bad monitor leaves nothing half done]",
        ),
        Fault(
            'with self.db.atomic("IMMEDIATE"):',
            "with self.db.atomic():",
            "a ping is refused at once where another program has just written",
            "test_storage.py::test_a_transaction_begins_immediately",
        ),
        Fault(
            'was it to our file?"""\n        if file_at(self.path) != self.file:',
            'was it to our file?"""\n        if False:',
            "pings are acknowledged that are in a file which was deleted",
            "test_broken_file.py::test_no_ping_is_acknowledged_whose_file_is_not_ours",
        ),
        Fault(
            "if self.lost:\n            raise Unavailable\n        try:",
            "if False:\n            raise Unavailable\n        try:",
            "pings are acknowledged although a full disk took back their transaction",
            "test_storage.py::test_a_disk_that_fills_up_loses_all_that_was_made_together",
        ),
    ],
    "Loops": [
        Fault(
            "AWAY_MS = 60_000",
            "AWAY_MS = 600_000",
            "a laptop that slept for nine minutes tells of jobs that ran",
            "test_site.py::test_a_story[More than a minute beyond the interval is a gap]",
        ),
        Fault(
            "settings.keep_days * 86_400_000",
            "settings.keep_days * 8_640_000",
            "nine tenths of what should be kept are deleted",
            "test_site.py::test_a_story[What is too old goes, but not the last flip]",
        ),
        Fault(
            'insert(tx.db, "absence", {',
            '(lambda *_: None)(tx.db, "absence", {',
            "uptime counts the time in which cronwatch was away as up",
            "test_management.py::"
            "test_uptime_leaves_out_pauses_absences_and_the_time_before_the_first_ping",
        ),
        Fault(
            'if troubles(server) or server.read(outbox_counts)["overdue"]:',
            "if troubles(server):",
            "who watches us is not told that no alert gets through",
            "test_heartbeat.py::test_what_needs_a_person_makes_it_silent",
        ),
        Fault(
            '"troubles": sentences}, 503 if sentences else 200)',
            '"troubles": sentences}, 200)',
            "a load balancer relies on a scanner that is stuck",
            "test_metrics.py::test_a_scanner_that_does_not_look_is_no_health",
        ),
    ],
    "Lane": [
        Fault(
            "channel.replace()",
            "pass",
            "a ping is answered with 200 that is on no disk",
            "test_lane.py::test_no_ping_is_answered_2xx_whose_commit_fails",
        ),
        Fault(
            "for channel in batch[len(held) :]:",
            "for channel in ():",
            "pings that come during a backup are never answered",
            "test_lane.py::test_a_file_that_another_program_holds_for_a_moment_costs_no_ping",
        ),
        Fault(
            "not channel.total_outbufs_len and",
            "",
            "one client that reads no answer holds up all pings",
            "test_lane.py::test_who_has_not_taken_the_last_answer_is_left_to_a_worker",
        ),
        Fault(
            'request.headers["CONNECTION"] = "close"',
            "pass",
            "a stranger keeps workers busy with a pipeline of pages",
            "test_http_server.py::test_a_stranger_gets_one_page_a_connection",
        ),
        Fault(
            "channel.request.began < now - SLOWEST_SECONDS",
            "channel.request.began < now - 86_400",
            "who sends a byte a minute holds a connection for ever",
            "test_http_server.py::test_a_request_that_is_not_complete_in_30_seconds_is_cut_off",
        ),
        Fault(
            "while monotonic() < end and any(",
            "while False and any(",
            "at each restart a page that was asked for ends without an answer",
            "test_lane.py::test_a_server_that_stops_answers_what_a_worker_is_at",
        ),
    ],
    "Fields and what others speak": [
        Fault(
            '        "additionalProperties": False,\n    }',
            '        "additionalProperties": True,\n    }',
            "the document says that any field is taken",
            "test_openapi.py::test_every_object_is_closed",
        ),
        Fault(
            "clear_untrusted_proxy_headers=False",
            "clear_untrusted_proxy_headers=True",
            "all who ping behind a proxy are the proxy",
            "test_http_server.py::test_what_a_proxy_says_of_who_pings_arrives",
        ),
        Fault(
            "yield min(limit, (occurrence - before) // 4)",
            "yield limit",
            "a job of each minute that is down is shown without what it missed",
            "test_reports.py::test_a_run_does_not_count_for_the_minute_after_its_own",
        ),
        Fault(
            "            if now >= ends_at:\n                value = make()",
            "            if True:\n                value = make()",
            "strangers let the status page be made a thousand times a second",
            "test_status.py::test_it_is_made_at_most_once_a_second",
        ),
        Fault(
            '"new": 2, "late": 2,',
            '"new": 2, "late": 1,',
            "Home Assistant sees a late job as well",
            "test_kuma.py::test_each_state_is_the_status_that_uptime_kuma_has_for_it",
        ),
        Fault(
            "beats = BEATS_MAX // max(1, len(monitors))",
            "most = 30",
            "strangers ask for megabytes of heartbeats",
            "test_kuma.py::test_many_monitors_fit_on_a_page",
        ),
        Fault(
            "return user or password or None",
            "return user or None",
            "Home Assistant cannot sign in to read the gauges",
            "test_kuma.py::test_the_key_may_be_the_password_of_nobody",
        ),
        Fault(
            '            exit_code="s",',
            '            exit_code="code",',
            "a snitch's exit code is lost",
            "transcripts/snitch.http: A snitch reports an exit code and a message",
        ),
        Fault(
            "body = unpacker.decompress(body, limit)",
            "body = unpacker.decompress(body)",
            "fifty kilobytes of a stranger take gigabytes of memory",
            "test_sentry.py::test_of_a_bomb_no_more_than_the_limit_is_ever_held",
        ),
        Fault(
            "status=202,",
            "status=200,",
            "a check-in by the cron URL is not answered as Sentry does",
            "transcripts/sentry.http: A check-in by the cron URL is a ping",
        ),
        Fault(
            "            ends_newest=True,",
            "            ends_newest=False,",
            "a check-in without an id ends no run, and the job is stuck",
            "transcripts/sentry.http: Without a check_in_id, or with one of zeros, an end is of "
            "the newest run",
        ),
        Fault(
            'name = secret if request.secret else {"unique_key": unique_key(token)}',
            "name = secret",
            "who may only read sees what pings every check",
            "transcripts/healthchecks-api.http: Home Assistant pings, then reads how the checks "
            "do",
        ),
    ],
    "HTTP": [
        Fault(
            '"X-Content-Type-Options": "nosniff",',
            "",
            "a browser takes the answer to a ping for a page",
            "transcripts/who.http: A handle that was deleted is unknown",
        ),
        Fault(
            'headers.append(("Cache-Control", "no-store"))',
            "pass",
            "a proxy answers pings from its memory",
            "transcripts/who.http: A handle that was deleted is unknown",
        ),
        Fault(
            "; frame-ancestors 'none'",
            "",
            "a foreign page has the dashboard in a frame, and the clicks on it",
            "transcripts/who.http: A handle that was deleted is unknown",
        ),
        Fault(
            "if not request.allowed:",
            "if False:",
            "a DELETE by mistake counts as a ping",
            "transcripts/cronping.http: Other methods are refused",
        ),
        Fault(
            "return not self.is_held and super()._flush_some(do_close)",
            "return super()._flush_some(do_close)",
            "a client that sends its body after a 100 is told of a ping that is lost",
            "test_lane.py::test_a_connection_sends_nothing_while_it_is_held",
        ),
        Fault(
            "UNKNOWN_MAX = 30",
            "UNKNOWN_MAX = 3000",
            "keys are guessed by the thousand",
            "transcripts/cronradar.http: Thirty wrong keys a minute, then not even a look",
        ),
        Fault(
            "and dialect.retry_after",
            "",
            "Cronitor's SDK sleeps inside the user's job",
            "transcripts/cronitor.http: Within the minimum interval that its owner set it has to "
            "wait",
        ),
        Fault(
            "if problem is not None:\n        raise problem",
            "if False:\n        raise problem",
            "nobody is told that the schedule of a known job is wrong",
            "transcripts/cronradar.http: From a known monitor it is refused, and the ping counts "
            "all the same",
        ),
        Fault(
            'wait = limiter.wait(("key", key), most)',
            "wait = None",
            "a script in a loop holds up all pings",
            "transcripts/door.http: So many requests a minute and key, then it hears how long to "
            "wait",
        ),
        Fault(
            'Refused("Internal Server Error", "ERROR", 500)',
            'Refused(str(sys.exception()), "ERROR", 500)',
            "strangers read what broke inside",
            "transcripts/door.http: What goes wrong inside is an error of the same shape, without "
            "a word of what it was",
        ),
        Fault(
            'headers["Allow"] = ", ".join(refused.allow)',
            "pass",
            "a program is not told which methods it may use",
            "transcripts/door.http: Another method is refused, with those that are allowed",
        ),
        Fault(
            "max_request_body_size=10_485_760",
            "max_request_body_size=10**10",
            "one stranger fills the memory",
            "test_hostile.py::test_what_the_parser_refuses_has_the_security_headers",
        ),
        Fault(
            "Max-Age={seconds}; HttpOnly; ",
            "Max-Age={seconds}; ",
            "a script reads the cookie of a session",
            "test_people.py::"
            "test_the_token_is_also_a_cookie_that_no_script_and_no_foreign_page_uses",
        ),
        Fault(
            'cookie += "; Secure"',
            "pass",
            "the cookie of a session goes over the network in the clear",
            "test_people.py::test_the_cookie_is_secure_where_people_come_by_https",
        ),
        Fault(
            '"HTTP_X_CRONWATCH" not in environ or not (',
            "not (",
            "a foreign page deletes monitors by the browser of who is signed in",
            "test_permissions.py::test_a_write_with_a_cookie_needs_the_header",
        ),
        Fault(
            '("read-write", "DELETE", f"{MONITORS}/<id>", removes(remove_monitor)',
            '("read-only", "DELETE", f"{MONITORS}/<id>", removes(remove_monitor)',
            "a key that may only read deletes a monitor",
            "transcripts/door.http: A key that may too little is told so",
        ),
        Fault(
            '"user", "GET", f"{API}/monitors/<id>/runs/<run>/log"',
            '"read-only", "GET", f"{API}/monitors/<id>/runs/<run>/log"',
            "an API key reads the output of jobs",
            "test_management.py::test_a_log_needs_a_users_token_not_an_api_key",
        ),
        Fault(
            'partial(static, files, "cronwatch-exec")',
            'partial(static, files, "index.html")',
            "who fetches the wrapper has a page in its place, and no job runs",
            "test_cli.py::test_the_line_of_the_readme_fetches_the_wrapper",
        ),
        Fault(
            "if not tag or tag != server.settings.status_tag:",
            "if not tag:",
            "strangers see the monitors of every tag",
            "test_status.py::test_no_other_tag_has_a_page",
        ),
    ],
}
