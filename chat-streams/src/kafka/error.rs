//! What Kafka says, as errors of the family: by code, never by text.

use chat_core::error::{Code, Error};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Said};

use super::config::KafkaConfig;

/// The error of an operation of the driver.
///
/// What an operator has to mend (rights, passwords, a topic nobody made) is an outage, too: no event is at fault.
pub(super) fn error(operation: &'static str, failure: &KafkaError) -> Error {
    let Some(said) = failure.rdkafka_error_code() else {
        return Error::new(Code::Unavailable).during(operation).with("kafka", "away");
    };
    let error = Error::new(code(said)).during(operation).with("kafka", format_args!("{said:?}"));
    if may_have_happened(said) { error.effect_unknown() } else { error }
}

/// The error of a client that could not be made.
pub(super) fn creation(config: &KafkaConfig, failure: &KafkaError) -> Error {
    let reason = match failure {
        KafkaError::ClientConfig(_, _, property, _) => {
            format!("Kafka: the property {property} is not accepted")
        }
        KafkaError::ClientCreation(why) if !config.tells_a_secret(why) => format!("Kafka: {why}"),
        _ => "Kafka: no client can be made of this".to_owned(),
    };
    Error::invalid(Code::ConfigInvalid, reason)
}

fn code(said: Said) -> Code {
    match said {
        Said::MessageSizeTooLarge | Said::InvalidMessageSize | Said::MessageBatchTooLarge => {
            Code::PayloadTooLarge
        }
        Said::InvalidRecord => Code::RequestInvalid,
        Said::QueueFull => Code::QueueFull,
        Said::AllBrokersDown
        | Said::Authentication
        | Said::BrokerDestroy
        | Said::BrokerNotAvailable
        | Said::BrokerTransportFailure
        | Said::ClusterAuthorizationFailed
        | Said::CoordinatorLoadInProgress
        | Said::CoordinatorNotAvailable
        | Said::DuplicateSequenceNumber
        | Said::Fatal
        | Said::FencedLeaderEpoch
        | Said::GaplessGuarantee
        | Said::GroupAuthorizationFailed
        | Said::ISRInsufficient
        | Said::InvalidDifferentRecord
        | Said::InvalidMessage
        | Said::InvalidProducerEpoch
        | Said::InvalidProducerIdMapping
        | Said::InvalidReplicationFactor
        | Said::InvalidTopic
        | Said::KafkaStorageError
        | Said::LeaderNotAvailable
        | Said::ListenerNotFound
        | Said::MessageTimedOut
        | Said::NetworkException
        | Said::NotCoordinator
        | Said::NotEnoughReplicas
        | Said::NotEnoughReplicasAfterAppend
        | Said::NotLeaderForPartition
        | Said::OperationTimedOut
        | Said::OutOfOrderSequenceNumber
        | Said::PolicyViolation
        | Said::ProducerFenced
        | Said::PurgeInflight
        | Said::PurgeQueue
        | Said::ReplicaNotAvailable
        | Said::RequestTimedOut
        | Said::Resolve
        | Said::Retry
        | Said::SSL
        | Said::SaslAuthenticationFailed
        | Said::ThrottlingQuotaExceeded
        | Said::TimedOutQueue
        | Said::TopicAuthorizationFailed
        | Said::UnknownLeaderEpoch
        | Said::UnknownPartition
        | Said::UnknownProducerId
        | Said::UnknownTopic
        | Said::UnknownTopicOrPartition
        | Said::WaitingForCoordinator => Code::Unavailable,
        _ => Code::Internal,
    }
}

/// Whether the record may be in the topic all the same.
fn may_have_happened(said: Said) -> bool {
    matches!(
        said,
        Said::BrokerDestroy
            | Said::BrokerTransportFailure
            | Said::Fatal
            | Said::MessageTimedOut
            | Said::NetworkException
            | Said::NotEnoughReplicasAfterAppend
            | Said::OperationTimedOut
            | Said::PurgeInflight
            | Said::RequestTimedOut
    )
}

#[cfg(test)]
mod tests {
    use chat_core::error::{Effect, ErrorKind};

    use super::*;

    #[test]
    fn an_outage_is_nobodys_fault_and_a_record_too_large_is_its_own() {
        let of = |said| error("kafka.send", &KafkaError::MessageProduction(said));
        let away = of(Said::MessageTimedOut);
        assert_eq!((away.kind(), away.effect()), (ErrorKind::Unavailable, Effect::Unknown));
        assert_eq!(of(Said::QueueFull).kind(), ErrorKind::Unavailable);
        assert_eq!(of(Said::TopicAuthorizationFailed).kind(), ErrorKind::Unavailable);
        let large = of(Said::MessageSizeTooLarge);
        assert_eq!((large.kind(), large.effect()), (ErrorKind::InvalidInput, Effect::None));
        assert_eq!(of(Said::UnsupportedVersion).code(), Code::Internal, "unknown is permanent");
        assert_eq!(of(Said::LeaderNotAvailable).effect(), Effect::None);
    }
}
