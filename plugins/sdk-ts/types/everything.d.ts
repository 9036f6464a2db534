/// <reference path="./interfaces/waypost-plugin-auth-results.d.ts" />
/// <reference path="./interfaces/waypost-plugin-config.d.ts" />
/// <reference path="./interfaces/waypost-plugin-context.d.ts" />
/// <reference path="./interfaces/waypost-plugin-deliveries.d.ts" />
/// <reference path="./interfaces/waypost-plugin-dns.d.ts" />
/// <reference path="./interfaces/waypost-plugin-kv.d.ts" />
/// <reference path="./interfaces/waypost-plugin-lifecycle.d.ts" />
/// <reference path="./interfaces/waypost-plugin-log.d.ts" />
/// <reference path="./interfaces/waypost-plugin-messages.d.ts" />
/// <reference path="./interfaces/waypost-plugin-metrics.d.ts" />
/// <reference path="./interfaces/waypost-plugin-on-auth.d.ts" />
/// <reference path="./interfaces/waypost-plugin-on-bounce.d.ts" />
/// <reference path="./interfaces/waypost-plugin-on-connect.d.ts" />
/// <reference path="./interfaces/waypost-plugin-on-delivery-attempt.d.ts" />
/// <reference path="./interfaces/waypost-plugin-on-delivery-result.d.ts" />
/// <reference path="./interfaces/waypost-plugin-on-helo.d.ts" />
/// <reference path="./interfaces/waypost-plugin-on-mail.d.ts" />
/// <reference path="./interfaces/waypost-plugin-on-message.d.ts" />
/// <reference path="./interfaces/waypost-plugin-on-rcpt.d.ts" />
/// <reference path="./interfaces/waypost-plugin-on-route.d.ts" />
/// <reference path="./interfaces/waypost-plugin-rate-limits.d.ts" />
/// <reference path="./interfaces/waypost-plugin-routing.d.ts" />
/// <reference path="./interfaces/waypost-plugin-sessions.d.ts" />
/// <reference path="./interfaces/waypost-plugin-system.d.ts" />
/// <reference path="./interfaces/waypost-plugin-transactions.d.ts" />
/// <reference path="./interfaces/waypost-plugin-types.d.ts" />
declare module 'waypost:plugin/everything@0.1.0' {
  export type * as WaypostPluginAuthResults010 from 'waypost:plugin/auth-results@0.1.0'; // import waypost:plugin/auth-results@0.1.0
  export type * as WaypostPluginConfig010 from 'waypost:plugin/config@0.1.0'; // import waypost:plugin/config@0.1.0
  export type * as WaypostPluginContext010 from 'waypost:plugin/context@0.1.0'; // import waypost:plugin/context@0.1.0
  export type * as WaypostPluginDeliveries010 from 'waypost:plugin/deliveries@0.1.0'; // import waypost:plugin/deliveries@0.1.0
  export type * as WaypostPluginDns010 from 'waypost:plugin/dns@0.1.0'; // import waypost:plugin/dns@0.1.0
  export type * as WaypostPluginKv010 from 'waypost:plugin/kv@0.1.0'; // import waypost:plugin/kv@0.1.0
  export type * as WaypostPluginLog010 from 'waypost:plugin/log@0.1.0'; // import waypost:plugin/log@0.1.0
  export type * as WaypostPluginMessages010 from 'waypost:plugin/messages@0.1.0'; // import waypost:plugin/messages@0.1.0
  export type * as WaypostPluginMetrics010 from 'waypost:plugin/metrics@0.1.0'; // import waypost:plugin/metrics@0.1.0
  export type * as WaypostPluginRateLimits010 from 'waypost:plugin/rate-limits@0.1.0'; // import waypost:plugin/rate-limits@0.1.0
  export type * as WaypostPluginRouting010 from 'waypost:plugin/routing@0.1.0'; // import waypost:plugin/routing@0.1.0
  export type * as WaypostPluginSessions010 from 'waypost:plugin/sessions@0.1.0'; // import waypost:plugin/sessions@0.1.0
  export type * as WaypostPluginSystem010 from 'waypost:plugin/system@0.1.0'; // import waypost:plugin/system@0.1.0
  export type * as WaypostPluginTransactions010 from 'waypost:plugin/transactions@0.1.0'; // import waypost:plugin/transactions@0.1.0
  export type * as WaypostPluginTypes010 from 'waypost:plugin/types@0.1.0'; // import waypost:plugin/types@0.1.0
  export * as lifecycle from 'waypost:plugin/lifecycle@0.1.0'; // export waypost:plugin/lifecycle@0.1.0
  export * as onConnect from 'waypost:plugin/on-connect@0.1.0'; // export waypost:plugin/on-connect@0.1.0
  export * as onHelo from 'waypost:plugin/on-helo@0.1.0'; // export waypost:plugin/on-helo@0.1.0
  export * as onAuth from 'waypost:plugin/on-auth@0.1.0'; // export waypost:plugin/on-auth@0.1.0
  export * as onMail from 'waypost:plugin/on-mail@0.1.0'; // export waypost:plugin/on-mail@0.1.0
  export * as onRcpt from 'waypost:plugin/on-rcpt@0.1.0'; // export waypost:plugin/on-rcpt@0.1.0
  export * as onMessage from 'waypost:plugin/on-message@0.1.0'; // export waypost:plugin/on-message@0.1.0
  export * as onRoute from 'waypost:plugin/on-route@0.1.0'; // export waypost:plugin/on-route@0.1.0
  export * as onDeliveryAttempt from 'waypost:plugin/on-delivery-attempt@0.1.0'; // export waypost:plugin/on-delivery-attempt@0.1.0
  export * as onDeliveryResult from 'waypost:plugin/on-delivery-result@0.1.0'; // export waypost:plugin/on-delivery-result@0.1.0
  export * as onBounce from 'waypost:plugin/on-bounce@0.1.0'; // export waypost:plugin/on-bounce@0.1.0
}
