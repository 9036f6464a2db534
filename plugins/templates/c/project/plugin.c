// {{name}}: a Waypost plugin. Each hook is a function; see bindings/plugin.h, which the build writes.
{{#rcpt}}
// The operator lists mailboxes that nobody reads, and mail to them is refused at RCPT.
{{/}}
//
// A hook returns true with its verdict in `ret`, or false with a text in `err`: then the plugin has failed. What a hook is
// given is its own to free; what it returns is freed for it.

#include "plugin.h"

{{#rcpt}}
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

// Whether a list in JSON, such as ["no-reply","info"], has the word, whatever its case. The schema in waypost-plugin.toml
// makes sure that it is a list of texts.
static bool lists(const plugin_string_t *json, const plugin_string_t *word) {
  for (size_t i = 0; i + word->len + 2 <= json->len; i++) {
    if (json->ptr[i] != '"' || json->ptr[i + word->len + 1] != '"') continue;
    size_t same = 0;
    while (same < word->len && tolower(json->ptr[i + 1 + same]) == tolower(word->ptr[same])) same++;
    if (same == word->len) return true;
  }
  return false;
}

static bool is_unread(const plugin_string_t *local_part) {
  plugin_string_t key, list;
  plugin_string_set(&key, "unread");
  if (local_part->len == 0 || !waypost_plugin_config_get(&key, &list)) return false;
  bool found = lists(&list, local_part);
  plugin_string_free(&list);
  return found;
}

static void log_refusal(const plugin_string_t *local_part) {
  static const char before[] = "refused ";
  size_t head = sizeof before - 1;
  plugin_string_t line = {malloc(head + local_part->len), head + local_part->len};
  if (line.ptr == NULL) return;
  memcpy(line.ptr, before, head);
  memcpy(line.ptr + head, local_part->ptr, local_part->len);
  plugin_list_tuple2_string_string_t none = {NULL, 0};
  waypost_plugin_log_write(WAYPOST_PLUGIN_LOG_LEVEL_INFO, &line, &none);
  plugin_string_free(&line);
}

// A reply of one line.
static waypost_plugin_types_reply_t reply(uint16_t code, uint8_t kind, uint16_t subject, uint16_t detail, const char *text) {
  waypost_plugin_types_reply_t made = {.code = code, .status = {true, {kind, subject, detail}}};
  made.lines.ptr = malloc(sizeof *made.lines.ptr);
  made.lines.len = made.lines.ptr == NULL ? 0 : 1;
  if (made.lines.len == 1) plugin_string_dup(&made.lines.ptr[0], text);
  return made;
}

{{/}}
{{#connect}}
// After accept, before the banner.
bool exports_waypost_plugin_on_connect_handle(exports_waypost_plugin_on_connect_session_verdict_t *ret, plugin_string_t *err) {
  ret->tag = WAYPOST_PLUGIN_TYPES_SESSION_VERDICT_PROCEED;
  return true;
}

{{/}}
{{#helo}}
// HELO or EHLO, with its argument.
bool exports_waypost_plugin_on_helo_handle(plugin_string_t *name, exports_waypost_plugin_on_helo_session_verdict_t *ret,
                                           plugin_string_t *err) {
  ret->tag = WAYPOST_PLUGIN_TYPES_SESSION_VERDICT_PROCEED;
  plugin_string_free(name);
  return true;
}

{{/}}
{{#auth}}
// A client offers proof of who it is.
bool exports_waypost_plugin_on_auth_handle(exports_waypost_plugin_on_auth_attempt_t *attempt,
                                           exports_waypost_plugin_on_auth_auth_verdict_t *ret, plugin_string_t *err) {
  ret->tag = EXPORTS_WAYPOST_PLUGIN_ON_AUTH_AUTH_VERDICT_PROCEED;
  exports_waypost_plugin_on_auth_attempt_free(attempt);
  return true;
}

{{/}}
{{#mail}}
// MAIL; the null sender is NULL.
bool exports_waypost_plugin_on_mail_handle(exports_waypost_plugin_on_mail_mailbox_t *maybe_sender,
                                           exports_waypost_plugin_on_mail_session_verdict_t *ret, plugin_string_t *err) {
  ret->tag = WAYPOST_PLUGIN_TYPES_SESSION_VERDICT_PROCEED;
  if (maybe_sender) exports_waypost_plugin_on_mail_mailbox_free(maybe_sender);
  return true;
}

{{/}}
{{#rcpt}}
// Each RCPT.
bool exports_waypost_plugin_on_rcpt_handle(exports_waypost_plugin_on_rcpt_recipient_t *candidate,
                                           exports_waypost_plugin_on_rcpt_session_verdict_t *ret, plugin_string_t *err) {
  ret->tag = WAYPOST_PLUGIN_TYPES_SESSION_VERDICT_PROCEED;
  if (is_unread(&candidate->mailbox.local_part)) {
    log_refusal(&candidate->mailbox.local_part);
    ret->tag = WAYPOST_PLUGIN_TYPES_SESSION_VERDICT_REJECT;
    ret->val.reject = reply(550, 5, 7, 1, "nobody reads that mailbox");
  }
  exports_waypost_plugin_on_rcpt_recipient_free(candidate);
  return true;
}

{{/}}
{{#message}}
// After the end of the data; waypost_plugin_context_current_message gives the message.
bool exports_waypost_plugin_on_message_handle(exports_waypost_plugin_on_message_message_verdict_t *ret, plugin_string_t *err) {
  ret->tag = WAYPOST_PLUGIN_TYPES_MESSAGE_VERDICT_PROCEED;
  return true;
}

{{/}}
{{#route}}
// Where recipients go that no earlier plugin has assigned.
bool exports_waypost_plugin_on_route_handle(exports_waypost_plugin_on_route_routing_phase_t phase,
                                            exports_waypost_plugin_on_route_list_recipient_t *recipients,
                                            exports_waypost_plugin_on_route_routing_verdict_t *ret, plugin_string_t *err) {
  ret->tag = WAYPOST_PLUGIN_ROUTING_ROUTING_VERDICT_PROCEED;
  exports_waypost_plugin_on_route_list_recipient_free(recipients);
  return true;
}

{{/}}
{{#delivery-attempt}}
// Before a connection is chosen.
bool exports_waypost_plugin_on_delivery_attempt_handle(exports_waypost_plugin_on_delivery_attempt_attempt_verdict_t *ret,
                                                       plugin_string_t *err) {
  ret->tag = WAYPOST_PLUGIN_DELIVERIES_ATTEMPT_VERDICT_PROCEED;
  return true;
}

{{/}}
{{#delivery-result}}
// After an attempt; recipients not answered for are left to the relay.
bool exports_waypost_plugin_on_delivery_result_handle(
    exports_waypost_plugin_on_delivery_result_list_recipient_outcome_t *outcomes,
    exports_waypost_plugin_on_delivery_result_list_recipient_disposition_t *ret, plugin_string_t *err) {
  ret->ptr = NULL;
  ret->len = 0;
  exports_waypost_plugin_on_delivery_result_list_recipient_outcome_free(outcomes);
  return true;
}

{{/}}
{{#bounce}}
// Before a bounce is made.
bool exports_waypost_plugin_on_bounce_handle(exports_waypost_plugin_on_bounce_list_recipient_outcome_t *failed,
                                             exports_waypost_plugin_on_bounce_bounce_verdict_t *ret, plugin_string_t *err) {
  ret->tag = WAYPOST_PLUGIN_DELIVERIES_BOUNCE_VERDICT_PROCEED;
  exports_waypost_plugin_on_bounce_list_recipient_outcome_free(failed);
  return true;
}

{{/}}
