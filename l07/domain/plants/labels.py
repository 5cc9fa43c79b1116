"""How people name a kind of value, in two halves, and in which groups of contexts it is found."""

from collections.abc import Mapping, Sequence

Halves = Mapping[str, Sequence[str]]


def _halves(tune: str, held_out: str) -> Halves:
    """Labels divided by commas."""
    return {"tune": tuple(tune.split(",")), "held_out": tuple(held_out.split(","))}


TOKEN = _halves("token,api_key,value,x-auth,key,secret_token,auth,credential", "api_token,secret_key,pat,access")
LABELS: Mapping[str, Halves] = {
    "aws_secret_key": _halves(
        "aws_secret_access_key,secret_access_key,AwsSecretAccessKey,aws_secret_key,SecretAccessKey",
        "AWS_SECRET,secretAccessKey",
    ),
    "azure_storage_key": _halves(
        "account_key,storage_key,AccountKey,azure_storage_account_key,storageAccountKey",
        "azure_account_key,AZURE_STORAGE_KEY",
    ),
    "twilio_key": _halves("twilio_api_key,api_key,TWILIO_API_SECRET,twilio_auth_token", "twilio_secret,api_key_secret"),
    "mailgun_key": _halves("mailgun_api_key,MAILGUN_KEY", "mg_api_key"),
    "password": _halves(
        "password,db_password,passwd,user_password,Password,smtp_password,admin_pwd,dbPassword,MYSQL_ROOT_PASSWORD,passphrase",
        "pwd,root_password,pass,userPassword,login_password,kennwort",
    ),
    "api_key": _halves(
        "api_key,apikey,x-api-key,client_secret,service_api_key,apiKey,API-Key,clientSecret,api_secret,app_secret,X-API-KEY",
        "openai_api_key,consumer_key,license_key,x-apikey,secretKey",
    ),
    "generic_secret": _halves(
        "access_token,auth_token,secret_key,token,encryption_key,accessToken,refresh_token,secret,signing_key,session_token,webhook_secret",
        "bot_token,client_token,hmac_secret,id_token,jwt_secret,SECRET",
    ),
    "email": _halves("email,contact_email,e-mail,userEmail,mail", "recipientEmail,work email,to"),
    "phone_number": _halves("phone,phone_number,mobile,telephone,phoneNumber,cell,contact phone", "tel,mobile_number,Telefon,contactNumber"),
    "iban": _halves("iban,account,IBAN,bank_account,recipient", "beneficiary_iban,acct,Konto"),
    "card_number": _halves("card_number,credit_card,cardNumber,card,cc", "pan,payment_card,creditCard"),
    "us_ssn": _halves("ssn,social_security_number,SSN,social security number", "ssn_number,social security"),
    "de_tax_id": _halves("steuer_id,tax_id,Steuer-ID,Steueridentifikationsnummer,steuerId,IdNr,tax id", "tin,taxId,steuer_identifikationsnummer"),
    "de_id_card": _halves(
        "id_card_number,Personalausweis,Ausweisnummer,identity_card_number,personalausweisnummer",
        "id card,identityCard,Ausweis-Nr",
    ),
    "uk_nino": _halves("nino,national_insurance_number,NI number,nationalInsuranceNumber", "ni_number,NINO"),
    "uk_nhs_number": _halves("nhs_number,NHS number,nhsNumber", "nhs no,patient id"),
    "fr_nir": _halves("nir,numero_secu,NIR,sécurité sociale", "n° de sécurité sociale,insee"),
    "es_dni": _halves("dni,nif,DNI,nie,NIF", "documento,dni_number"),
    "it_codice_fiscale": _halves("codice_fiscale,codiceFiscale,CF", "cod_fisc,fiscal code"),
    "passport_number": _halves("passport_number,passport,passportNumber,passport no,Passport Number", "Reisepass,passport_id,passportNo"),
    "passport_mrz": _halves("mrz,passport_mrz,MRZ", "machine_readable_zone"),
    "ipv4": _halves("ip,client_ip,ip_address,remote_addr,X-Forwarded-For", "src_ip,host,peer"),
    "ipv6": _halves("ip,client_ip,ip_address,remote_addr", "src_ip,host"),
    "mac_address": _halves("mac,mac_address,hwaddr,macAddress", "ether,device_mac"),
    "bitcoin_address": _halves("wallet,btc_address,address,payout_wallet", "btc,to"),
    "ethereum_address": _halves("wallet,eth_address,address,payout_wallet", "eth,to"),
    "gps_position": _halves(
        "home_location,user_location,current_location,userLocation,home coordinates,last_known_position",
        "customer_location,device position,my coordinates,user_gps",
    ),
    "date_of_birth": _halves("date_of_birth,dob,birth_date,dateOfBirth,DOB,birthday,Geburtsdatum", "born,birthdate,date of birth,geboren am"),
    "person_name": _halves(
        "full_name,customer_name,fullName,patient_name,passenger name,cardholder_name",
        "first_name,surname,guest_name,account holder name,fullname",
    ),
    "postal_address": _halves(
        "home_address,shipping_address,billing_address,homeAddress,street_address,postal address",
        "delivery_address,address1,residential address,Anschrift",
    ),
}  # fmt: skip
SHAPES: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("private_key", "openssh_private_key", "pgp_private_key"), ("pem",)),
    **dict.fromkeys(("aws_secret_key", "api_key", "generic_secret"), ("labelled",)),
    "gcp_service_account": ("service_account",),
    "azure_storage_key": ("connection", "labelled"),
    "password": ("labelled", "code_password"),
    "url_password": ("web",),
    "database_url": ("url",),
    "bearer_token": ("bearer",),
    "basic_auth": ("basic",),
    **dict.fromkeys(
        ("email", "iban", "card_number", "us_ssn", "uk_nino", "uk_nhs_number", "fr_nir", "es_dni", "it_codice_fiscale", "passport_mrz",
         "ipv4", "ipv6", "mac_address", "bitcoin_address", "ethereum_address", "phone_number"),
        ("field", "open"),
    ),
    **dict.fromkeys(
        ("de_tax_id", "de_id_card", "passport_number", "gps_position", "date_of_birth", "person_name", "postal_address"), ("field",)
    ),
}  # fmt: skip
