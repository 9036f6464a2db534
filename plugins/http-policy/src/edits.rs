//! Does what an answer asks for beside its verdict. The relay applies all of it or, where one edit fails, nothing.

use waypost_plugin::{Message, context};

use crate::answer::{Answer, Headers, Recipients};
use crate::settings::Hook;
use crate::verdicts::mailbox;

/// All edits of an answer.
pub(crate) fn apply(answer: &Answer, hook: Hook) -> Result<(), String> {
    if !answer.notes.is_empty() {
        let session = context::current_session()?;
        for (key, value) in &answer.notes {
            session.set_note(key, value)?;
        }
    }
    if hook.is_of_queue() {
        return of_queue(answer, hook);
    }
    if !answer.annotations.is_empty() || !answer.tags.is_empty() || answer.sender.is_some() {
        let transaction = context::current_transaction()?;
        for (key, value) in &answer.annotations {
            transaction.set_annotation(key, value)?;
        }
        for tag in &answer.tags {
            transaction.add_tag(tag)?;
        }
        if let Some(sender) = &answer.sender {
            let sender = if sender.is_empty() { None } else { Some(mailbox(sender)?) };
            transaction.set_sender(sender.as_ref())?;
        }
    }
    if answer.recipients != Recipients::default() {
        recipients(&answer.recipients)?;
    }
    if answer.headers != Headers::default() {
        headers(&answer.headers, &context::current_message()?)?;
    }
    Ok(())
}

fn of_queue(answer: &Answer, hook: Hook) -> Result<(), String> {
    if hook == Hook::Bounce {
        return Ok(());
    }
    let delivery = context::current_delivery()?;
    for (key, value) in &answer.annotations {
        delivery.set_annotation(key, value)?;
    }
    if let Some(sender) = &answer.sender {
        let sender = if sender.is_empty() { None } else { Some(mailbox(sender)?) };
        delivery.set_sender(sender.as_ref())?;
    }
    Ok(())
}

/// By address: a recipient that is not there is a mistake of the service, and told as one.
fn recipients(wish: &Recipients) -> Result<(), String> {
    let transaction = context::current_transaction()?;
    let known = transaction.recipients();
    let index = |address: &str| {
        let found = known.iter().find(|recipient| recipient.mailbox.to_string().eq_ignore_ascii_case(address));
        found.map(|recipient| recipient.index).ok_or("the answer names a recipient that is not there")
    };
    for (from, to) in &wish.rewrite {
        transaction.rewrite_recipient(index(from)?, &mailbox(to)?)?;
    }
    for address in &wish.remove {
        transaction.remove_recipient(index(address)?)?;
    }
    for address in &wish.add {
        transaction.add_recipient(&mailbox(address)?)?;
    }
    Ok(())
}

fn headers(wish: &Headers, message: &Message) -> Result<(), String> {
    for name in &wish.remove {
        for field in message.headers_named(name) {
            message.remove_header(field.index)?;
        }
    }
    for (name, value) in &wish.set {
        match message.headers_named(name).first() {
            Some(field) => message.replace_header(field.index, value)?,
            None => message.append_header(name, value)?,
        }
    }
    // The last one that is put on top stands highest.
    for (name, value) in wish.prepend.iter().rev() {
        message.prepend_header(name, value)?;
    }
    for (name, value) in &wish.append {
        message.append_header(name, value)?;
    }
    Ok(())
}
