// Package plugin is {{name}}, a Waypost plugin. Each hook is a function named after its interface; the types are in
// bindings/imports, which the build writes.
{{#rcpt}}
//
// The operator lists mailboxes that nobody reads, and mail to them is refused at RCPT.
{{/}}
package plugin

import (
{{#rcpt}}
	"encoding/json"
	"strings"

	config "{{name}}/bindings/imports/waypost_plugin_config"
{{/}}
{{#delivery-attempt delivery-result bounce}}
	deliveries "{{name}}/bindings/imports/waypost_plugin_deliveries"
{{/}}
{{#rcpt}}
	log "{{name}}/bindings/imports/waypost_plugin_log"
{{/}}
{{#auth}}
	auth "{{name}}/bindings/imports/waypost_plugin_on_auth"
{{/}}
{{#route}}
	routing "{{name}}/bindings/imports/waypost_plugin_routing"
{{/}}
{{#rcpt route}}
	transactions "{{name}}/bindings/imports/waypost_plugin_transactions"
{{/}}
{{#connect helo mail rcpt message}}
	contract "{{name}}/bindings/imports/waypost_plugin_types"
{{/}}
	"{{name}}/bindings/wit/types"
)

{{#connect helo mail rcpt}}
// Session is what the hooks of a session answer: a verdict, or why the plugin failed.
type Session = types.Result[contract.SessionVerdict, string]

func proceed() Session { return types.Ok[contract.SessionVerdict, string](contract.MakeSessionVerdictProceed()) }

{{/}}
{{#rcpt}}
func reject(code uint16, status contract.EnhancedStatus, line string) Session {
	reply := contract.Reply{Code: code, Status: types.Some(status), Lines: []string{line}}
	return types.Ok[contract.SessionVerdict, string](contract.MakeSessionVerdictReject(reply))
}

// An instance serves many calls: the operator's table is read at the first of them.
var settings *struct {
	Unread []string `json:"unread"`
}

func isUnread(localPart string) (bool, error) {
	if settings == nil {
		if err := json.Unmarshal([]byte(config.Document()), &settings); err != nil {
			return false, err
		}
	}
	for _, name := range settings.Unread {
		if strings.EqualFold(name, localPart) {
			return true, nil
		}
	}
	return false, nil
}

{{/}}
{{#connect}}
// OnConnect is asked after accept, before the banner.
func OnConnect() Session {
	return proceed()
}

{{/}}
{{#helo}}
// OnHelo is asked at HELO or EHLO, with its argument.
func OnHelo(name string) Session {
	return proceed()
}

{{/}}
{{#auth}}
// OnAuth is asked when a client offers proof of who it is.
func OnAuth(attempt auth.Attempt) types.Result[auth.AuthVerdict, string] {
	return types.Ok[auth.AuthVerdict, string](auth.MakeAuthVerdictProceed())
}

{{/}}
{{#mail}}
// OnMail is asked at MAIL; the null sender is none.
func OnMail(sender types.Option[contract.Mailbox]) Session {
	return proceed()
}

{{/}}
{{#rcpt}}
// OnRcpt is asked at each RCPT.
func OnRcpt(candidate transactions.Recipient) Session {
	localPart := candidate.Mailbox.LocalPart
	unread, err := isUnread(localPart)
	if err != nil {
		return types.Err[contract.SessionVerdict, string](err.Error())
	}
	if !unread {
		return proceed()
	}
	log.Write(log.Level_Info, "refused "+localPart, nil)
	return reject(550, contract.EnhancedStatus{Kind: 5, Subject: 7, Detail: 1}, "nobody reads that mailbox")
}

{{/}}
{{#message}}
// OnMessage is asked after the end of the data; CurrentMessage of waypost_plugin_context is the message.
func OnMessage() types.Result[contract.MessageVerdict, string] {
	return types.Ok[contract.MessageVerdict, string](contract.MakeMessageVerdictProceed())
}

{{/}}
{{#route}}
// OnRoute is asked where recipients go that no earlier plugin has assigned.
func OnRoute(phase routing.RoutingPhase, recipients []transactions.Recipient) types.Result[routing.RoutingVerdict, string] {
	return types.Ok[routing.RoutingVerdict, string](routing.MakeRoutingVerdictProceed())
}

{{/}}
{{#delivery-attempt}}
// OnDeliveryAttempt is asked before a connection is chosen.
func OnDeliveryAttempt() types.Result[deliveries.AttemptVerdict, string] {
	return types.Ok[deliveries.AttemptVerdict, string](deliveries.MakeAttemptVerdictProceed())
}

{{/}}
{{#delivery-result}}
// OnDeliveryResult is asked after an attempt; recipients not answered for are left to the relay.
func OnDeliveryResult(outcomes []deliveries.RecipientOutcome) types.Result[[]deliveries.RecipientDisposition, string] {
	return types.Ok[[]deliveries.RecipientDisposition, string](nil)
}

{{/}}
{{#bounce}}
// OnBounce is asked before a bounce is made.
func OnBounce(failed []deliveries.RecipientOutcome) types.Result[deliveries.BounceVerdict, string] {
	return types.Ok[deliveries.BounceVerdict, string](deliveries.MakeBounceVerdictProceed())
}

{{/}}
