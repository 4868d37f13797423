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
    test: str  # FILE::FUNCTION, or a heading of a transcript


FAULTS = {
    "Settings": [
        Fault(
            "text = given.get(setting.name)",
            "text = None",
            "a flag of the command line is ignored",
            "test_cli.py::test_a_flag_wins_over_a_variable",
        ),
        Fault(
            'environ.get(f"CRONWATCH_{setting.name.upper()}")',
            'environ.get(f"CRONWATCH_{setting.name}")',
            "what a unit file sets is ignored",
            "test_cli.py::test_every_setting_is_a_variable",
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
            "isinstance(given, list) or len(given) > 20:",
            "isinstance(given, list):",
            "each ping of a monitor goes through a thousand rules",
            "test_rules.py::test_a_wrong_rule_is_refused_with_the_reason",
        ),
        Fault(
            "run.duration_ms / 1000\n    if run.exit_code",
            "run.duration_ms\n    if run.exit_code",
            "a rule on seconds sees milliseconds",
            "test_rules.py::test_a_rule_looks_at_a_reported_duration",
        ),
        Fault(
            'values["exit_code"] = run.exit_code',
            "pass",
            "a rule on the exit code never matches",
            "test_rules.py::test_a_rule_looks_at_the_exit_code_where_it_is_known",
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
            "test_rules.py::test_ok_drops_a_digest_and_reminders",
        ),
        Fault(
            'is_counted = m.status != "paused" and (m.armed or not is_new)',
            'is_counted = m.status != "paused" and not is_new',
            "an armed monitor that never ran is silent for ever after a pause",
            "test_rules.py::test_the_resume_of_cronping_arms_a_new_armed_monitor_anew",
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
            '"success" if said == "up" else "fail"',
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
            "needs_key=True,",
            "needs_key=False,",
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
            "return found if abs(found) < 2**53 else None",
            "return found",
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
            "(name in before and getattr(m, name) == before[name])",
            "name in before",
            "each start of an SDK reverts what a person set",
            "transcripts/cronradar.http: A declaration that changes is applied; one that stays "
            "reverts no edit",
        ),
        Fault(
            '"MONITOR_NOT_FOUND", 404',
            '"MONITOR_NOT_FOUND", 410',
            "CronRadar's SDK does not register a job that is new",
            "transcripts/cronradar.http: An unknown monitor without a schedule is not found",
        ),
        Fault(
            "creates(knock.query) if who.keyed else None",
            "creates(knock.query)",
            "strangers make monitors",
            "transcripts/cronitor.http: An unknown code is not found",
        ),
        Fault(
            "tx.now, m.ping_count + 1",
            "tx.now, m.ping_count",
            "the pings of a monitor are not counted, and kept for ever",
            "test_retention.py::test_the_pings_of_a_monitor_are_counted_right",
        ),
    ],
    "Actions": [
        Fault(
            '"default_integrations": int(integrations is None),',
            '"default_integrations": 1,',
            "a monitor is told to those whom its maker left out",
            "test_alerts.py::test_a_monitor_that_names_integrations_is_heard_by_those_only",
        ),
        Fault(
            '"prefix": secret[:12],',
            '"prefix": secret,',
            "API keys stand in the database, and are listed, in the clear",
            "test_people.py::test_keys_are_listed_by_their_first_12_characters",
        ),
        Fault(
            "\"state != 'running' AND num NOT IN (SELECT num FROM run last WHERE \"",
            '"num NOT IN (SELECT num FROM run last WHERE "',
            "housekeeping deletes a run that goes on",
            "test_server.py::test_housekeeping_never_deletes_an_open_run",
        ),
        Fault(
            "(monitor, PRUNE_LIMIT // 10, keep),",
            "(monitor, PRUNE_LIMIT // 10, keep + 1),",
            "more logs are kept of a monitor than was set",
            "test_retention.py::test_the_newest_logs_of_a_monitor_are_kept",
        ),
        Fault(
            "m.due_at = change.at if change else None",
            "m.due_at = m.due_at",
            "nobody is told of a job that was missed",
            "transcripts/cronping.http: The deadline that is told is the one that is kept",
        ),
        Fault(
            "WHEN 'email' THEN m.email_alerts AND (",
            "WHEN 'email' THEN (",
            "a monitor whose mails are off goes on sending mails",
            "test_alerts.py::test_default_mail_counts_as_linked_with_email_alerts_only",
        ),
        Fault(
            "WHERE i.enabled AND CASE i.channel",
            "WHERE CASE i.channel",
            "an integration that was switched off is told",
            "test_alerts.py::test_a_disabled_integration_does_not_hear",
        ),
        Fault(
            "min(hours, 876_000) * 3_600_000",
            "min(hours, 876_000) * 60_000",
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
            "test_alerts.py::test_retries_come_when_they_are_due_and_not_before",
        ),
        Fault(
            'if not 200 <= status < 300:\n        raise OSError(f"HTTP',
            'if not 200 <= status < 600:\n        raise OSError(f"HTTP',
            "an alert that was answered 500 counts as told",
            "test_alerts.py::test_any_error_is_tried_again",
        ),
        Fault(
            '"webhook-id": event["id"]',
            '"webhook-id": str(uuid.uuid4())',
            "a receiver cannot tell a retry from another event",
            "test_alerts.py::test_a_retry_has_the_same_id",
        ),
        Fault(
            "f\"{event['id']}.{stamp}.\".encode()",
            "f\"{event['id']}.\".encode()",
            "no library of Standard Webhooks verifies what we sign",
            "test_alerts.py::test_a_webhook_is_signed_as_standard_webhooks_has_it",
        ),
        Fault(
            '"allowed_mentions": {"parse": []}',
            '"allowed_mentions": {}',
            "the message of a job calls everyone on Discord",
            "test_alerts.py::test_a_preset_words_the_body_in_json",
        ),
        Fault(
            "html.escape(event_text(event, 3000), quote=False)",
            "event_text(event, 3000)",
            "the message of a job calls everybody on Slack",
            "test_alerts.py::test_a_message_calls_nobody_on_slack",
        ),
        Fault(
            "elif tries >= 4 and not failing",
            "elif tries >= 400 and not failing",
            "nobody hears that a webhook is dead",
            "test_alerts.py::test_after_the_fourth_failed_try_the_others_are_told",
        ),
        Fault(
            "if hearer != integration]",
            "if hearer]",
            "a dead webhook is told that it is dead, again and again",
            "test_alerts.py::test_the_one_that_failed_is_not_told_of_it",
        ),
        Fault(
            "env=variables,",
            "env={**os.environ, **variables},",
            "the SMTP password is in the environment of each command",
            "test_alerts.py::test_a_command_has_a_clean_environment_otherwise",
        ),
        Fault(
            '.replace("=?", "= ?")',
            "",
            "the message of a job adds headers to a mail",
            "test_alerts.py::test_an_encoded_word_in_a_message_adds_no_header_to_a_mail",
        ),
        Fault(
            "and name.lower() not in FRAMING",
            "",
            "a header of a webhook breaks its framing, and nothing arrives",
            "test_alerts.py::test_headers_that_cannot_be_sent_are_refused",
        ),
        Fault(
            "server.login(settings.smtp_user, settings.smtp_password)",
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
    ],
    "Management": [
        Fault(
            "(_whole, 60, 2_592_000)",
            "(_whole, 1, 2_592_000)",
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
            '**(json.loads(row["config"]) if secret else {}),',
            '**json.loads(row["config"]),',
            "a key that may only read sees the secrets of webhooks",
            "test_management.py::test_a_read_only_key_sees_nothing_that_an_integration_needs",
        ),
        Fault(
            'if channel == "command":',
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
            "read_page(ask, 100), read_filter(ask)",
            "read_page(ask, 10**9), read_filter(ask)",
            "one request asks for a million monitors at once",
            "test_api.py::test_a_limit_that_cannot_be_is_refused",
        ),
        Fault(
            "if found[1] in OUR_HANDLES:",
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
    ],
    "Reports": [
        Fault(
            "spent[status] += end - begin - away",
            "spent[status] += end - begin",
            "uptime counts the time in which cronwatch was away",
            "test_management.py::"
            "test_uptime_leaves_out_pauses_absences_and_the_time_before_the_first_ping",
        ),
        Fault(
            "CASE WHEN status = 'down' THEN 0",
            "CASE WHEN status = 'down' THEN 9",
            "those in trouble stand at the end of the first screen",
            "test_management.py::test_those_in_trouble_come_first",
        ),
        Fault(
            '"e.num DESC",',
            '"e.num",',
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
            "found.sort(key=lambda row: (row[3], row[0]), reverse=True)",
            "found.sort(key=lambda row: (row[3], row[0]))",
            "the newest ping of a monitor is the last one of its page",
            "test_api.py::test_pings_come_newest_first",
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
            "if not found or found[0][1] <= tx.now:",
            "if not found:",
            "a link of last year signs in",
            "test_people.py::test_a_link_works_for_an_hour",
        ),
        Fault(
            "= 3_600_000, 5, 300",
            "= 3_600_000, 5000, 300",
            "passwords are tried by the thousand without a wait",
            "test_people.py::test_after_some_failures_one_has_to_wait",
        ),
        Fault(
            "slowdown.forget(tries[0])",
            "pass",
            "who mistypes now and then has to wait at last",
            "test_people.py::test_a_success_is_a_new_beginning_for_the_name",
        ),
        Fault(
            '"DELETE FROM session WHERE hash = ?", (ask.session,)',
            '"DELETE FROM session WHERE hash IS NULL AND ?", (ask.session,)',
            "who signs out on a foreign machine stays signed in",
            "test_people.py::test_signing_out_ends_the_session",
        ),
    ],
    "Metrics": [
        Fault(
            'if receipt.kind == "pause" or receipt.status == "dropped":',
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
            "float(one == now)",
            "1.0",
            "an alert of Prometheus sees each monitor down",
            "test_metrics.py::test_a_monitor_has_the_status_that_it_has_and_no_other",
        ),
    ],
    "Configuration": [
        Fault(
            '*["secret"] * secret,',
            '"secret",',
            "what signs webhooks is in a file under version control",
            "test_configuration.py::test_no_secret_is_exported_unless_asked_for",
        ),
        Fault(
            '("token", "code", "handle", "secret")',
            '("handle", "secret")',
            "the diff of a dry run shows what pings in the log of CI",
            "test_configuration.py::test_what_changes_is_said_without_a_secret",
        ),
        Fault(
            "if dry:\n        raise DryRun(changes)",
            "if False:\n        raise DryRun(changes)",
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
    ],
    "Command line": [
        Fault(
            "        return 1\n    return 0\n",
            "        return 0\n    return 0\n",
            "a script goes on although its command was refused",
            "test_cli.py::test_what_cannot_be_is_refused_in_one_sentence",
        ),
        Fault(
            "            file=sys.stderr,\n        )\n        return 1",
            "        )\n        return 1",
            "what was wrong stands in the file that a command should have written",
            "test_cli.py::test_a_refusal_is_an_exit_code_and_one_line_on_standard_error",
        ),
        Fault(
            '"armed": options.armed,',
            '"armed": False,',
            "a job that never runs is never missed, although --armed was said",
            "test_cli.py::test_an_added_monitor_takes_all_that_its_flags_say",
        ),
        Fault(
            "options.word not in MAKERS",
            "False",
            "a typing error in --database makes an empty file and lists no monitor",
            "test_cli.py::test_a_typo_in_the_name_of_the_database_makes_no_file",
        ),
        Fault(
            'if not outcome["ok"]:\n        raise Refused',
            "if False:\n        raise Refused",
            "`integration test` says that all is well where nothing was sent",
            "test_cli.py::test_a_failed_test_of_an_integration_says_why",
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
            "with self.db.savepoint():",
            "with contextlib.nullcontext():",
            "a monitor that could not be judged is left half done",
            "test_server.py::test_a_bad_monitor_leaves_nothing_half_done",
        ),
    ],
    "Loops": [
        Fault(
            "= 60_000, 30, 0.5, 20",
            "= 600_000, 30, 0.5, 20",
            "a laptop that slept for nine minutes tells of jobs that ran",
            "test_server.py::test_more_than_a_minute_beyond_the_interval_is_a_gap",
        ),
        Fault(
            "settings.keep_days * 86_400_000",
            "settings.keep_days * 8_640_000",
            "nine tenths of what should be kept are deleted",
            "test_server.py::test_housekeeping_keeps_what_is_not_older_than_90_days",
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
            "test_heartbeat.py::test_an_alert_that_nobody_gets_makes_it_silent",
        ),
        Fault(
            '"troubles": sentences}, 503 if sentences else 200)',
            '"troubles": sentences}, 200)',
            "a load balancer relies on a scanner that is stuck",
            "test_metrics.py::test_a_scanner_that_does_not_look_is_no_health",
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
            'headers["Cache-Control"] = "no-store"',
            "pass",
            "a proxy answers pings from its memory",
            "transcripts/who.http: A handle that was deleted is unknown",
        ),
        Fault(
            "\"frame-ancestors 'none'\",",
            '"",',
            "a foreign page has the dashboard in a frame, and the clicks on it",
            "transcripts/who.http: A handle that was deleted is unknown",
        ),
        Fault(
            "if not knock.allowed:",
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
            "WRONG_KEYS_MAX = 30",
            "WRONG_KEYS_MAX = 3000",
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
            "wait = self.server.limits.wait(caller.key, most) if caller.key else None",
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
            '("read-write", "DELETE", f"{API}/heartbeats/<id>"',
            '("read-only", "DELETE", f"{API}/heartbeats/<id>"',
            "a key that may only read deletes a monitor",
            "transcripts/door.http: A key that may too little is told so",
        ),
        Fault(
            '"user",\n        "GET",\n        f"{API}/monitors/<id>/runs/<run>/log"',
            '"read-only",\n        "GET",\n        f"{API}/monitors/<id>/runs/<run>/log"',
            "an API key reads the output of jobs",
            "test_management.py::test_a_log_needs_a_users_token_not_an_api_key",
        ),
    ],
}
